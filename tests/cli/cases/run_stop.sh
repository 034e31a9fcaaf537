# The text ends before the stop string, and says why.
text=$(moesaic run -p "Once upon a time" -n 40 -q --ignore-eos)
stop=$(printf '%s' "$text" | cut -c 12-15)
moesaic run -p "Once upon a time" -n 40 --stop "$stop" --json | python3 -c "
import json, sys
r = json.load(sys.stdin)
print(r['finish_reason'], sys.argv[2] not in r['text'], sys.argv[1].startswith(r['text']))" "$text" "$stop"
