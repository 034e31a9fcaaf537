# A packed artifact: whole, runnable, and the same bytes whatever the threads and the instruction set.
moesaic compress "$DATA/bad/_valid" -o out.moe --calib "$DATA/texts/calib.txt" --calib-tokens 600 --json | python3 -c "
import json, os, sys
r = json.load(sys.stdin)
print(r['schema'], r['bytes'] == os.path.getsize('out.moe'), r['calib_tokens'], len(r['experts']), r['resumed_layers'])
print(r['forward_s'] > 0 and r['fit_s'] > 0 and r['forward_s'] + r['fit_s'] < r['seconds'])
print(all(e['format'].startswith('int4') and 4 < e['bits_per_weight'] < 10 and e['error'] < 0.01 for e in r['experts']))"
moesaic inspect out.moe --verify --json | python3 -c "
import json, sys
r = json.load(sys.stdin)
print(r['container'], r['experts'], r['layers'])"
moesaic run out.moe --ids 1,2,3 -n 8 --ignore-eos --json | python3 -c "import json, sys; print(json.load(sys.stdin)['completion_tokens'])"
compress() { # compress NAME COMMAND...: as above, to another file
    local name=$1
    shift
    "$@" moesaic compress "$DATA/bad/_valid" -o "$name" --calib "$DATA/texts/calib.txt" --calib-tokens 600 -q ${threads:-}
    cmp out.moe "$name"
}
threads="--threads 1" compress one.moe
threads="--threads 2" compress two.moe
compress avx2.moe env MOESAIC_CPU=avx2
compress scalar.moe env MOESAIC_CPU=scalar
ls *.moe
