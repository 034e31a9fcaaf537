# Keys that scripts depend on.
keys() { python3 -c "import json,sys; d=json.loads(sys.stdin.readline()); print(d['schema'], *sorted(k for k in d if k!='schema'))"; }
moesaic run -p hello -n 2 --json | keys
head -c 4000 "$DATA/texts/eval_tales.txt" >text
moesaic eval --text text --json | keys
moesaic inspect --json | keys
moesaic trace --text text -o trace.safetensors --json | keys
moesaic logits --ids 1,2,3 -o logits.safetensors --json | keys
moesaic export -o out --json | keys
moesaic advise "$DATA/bad/_valid" --calib "$DATA/texts/calib.txt" --calib-tokens 64 --tokens 64 --threads 1 --json | tee advice | keys
python3 -c "
import json
r = json.load(open('advice'))
print(*sorted(r['base']), '-', *sorted(r['walk'][0]), '-', *sorted(r['candidates'][0]))"
