echo '{"messages":[{"role":"user","content":"Tell me a tale."}],"add_generation_prompt":true}' | moesaic template
