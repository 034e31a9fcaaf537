# Killed in the middle, a run goes on behind the last finished layer and ends with the same bytes.
options="--calib $DATA/texts/calib.txt --calib-tokens 128 --quant rtn:int4-g64 --threads 1"
moesaic compress -o whole.moe $options -q
enough=$((RANDOM * 200 + 3100000)) # the first layer ends at 3.01 MB, the last at 12.66
python3 -m kill_compress $enough $options -q
[ ! -e killed.moe ] && echo 'unfinished'
moesaic compress -o killed.moe $options --resume --json | python3 -c "import json, sys; print(0 < json.load(sys.stdin)['resumed_layers'] <= 6)"
cmp whole.moe killed.moe && ls killed.moe killed.moe.partial killed.moe.journal 2>/dev/null || true
