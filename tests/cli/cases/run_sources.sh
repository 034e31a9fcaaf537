# A prompt from a file, from standard input and from ids is one prompt.
printf 'The old king' >prompt
moesaic run -f prompt -n 8 -q >a
moesaic run -n 8 -q <prompt >b
moesaic run --ids "$(python3 -c 'import json,sys; print(*json.loads(sys.stdin.read()), sep=",")' < <(echo '"The old king"' | moesaic tokenize))" -n 8 -q >c
cmp a b && cmp a c && echo same
