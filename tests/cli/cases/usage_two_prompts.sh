moesaic run -p x -f y
