moesaic run --ids 1,4096 -n 1
