moesaic run -p x --top-p 1.5
