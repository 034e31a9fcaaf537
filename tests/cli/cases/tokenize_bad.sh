echo '{"not": "a string"}' | moesaic tokenize
