# Without MODEL the bundled one speaks; standard output holds the continuation alone.
moesaic run -p "Once upon a time" -n 12 -q >a
moesaic run "$DATA/fable-moe" -p "Once upon a time" -n 12 -q >b
cmp a b && [ "$(wc -c <a)" -gt 20 ] && echo same
