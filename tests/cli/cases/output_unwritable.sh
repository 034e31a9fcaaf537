moesaic logits --ids 1,2 -o /nonexistent/folder/x.safetensors
