moesaic run --frobnicate
