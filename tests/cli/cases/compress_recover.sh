# Recovery: recorded, the same bytes whatever the threads and the instruction set, also when gone on from a kill; and
# where rounding is coarse, nearer to the base than without.
common="--no-report --calib $DATA/texts/calib.txt --quant rtn:int2-g64"
moesaic compress "$DATA/bad/_valid" -o out.moe $common --calib-tokens 600 --recover -q
python3 -c "print('recorded', b'\"recover\":true' in open('out.moe', 'rb').read().replace(b' ', b''))"
for cpu in scalar avx2; do
    MOESAIC_CPU=$cpu moesaic compress "$DATA/bad/_valid" -o same.moe $common --calib-tokens 600 --recover -q \
        --threads $([ $cpu = scalar ] && echo 1 || echo 2)
    cmp out.moe same.moe
done
moesaic compress "$DATA/bad/_valid" -o narrow.moe $common --calib-tokens 600 --recover --prune structured:0.5 \
    --drop-experts frequency:0.25 --json | python3 -c "
import json, sys
print({(p['method'], p['format']) for p in json.load(sys.stdin)['experts']})"
moesaic compress -o with.moe $common --calib-tokens 1024 --recover -q
moesaic compress -o without.moe $common --calib-tokens 1024 -q
moesaic compare "$DATA/fable-moe" with.moe --against without=without.moe --text "$DATA/texts/eval_tales.txt" --tokens 1024 \
    --no-speed --json | python3 -c "
import json, sys
r = json.load(sys.stdin)
print('nearer', r['quality']['kl_mean'] < 0.95 * r['opponents'][0]['kl_mean'])"
python3 -m kill_compress 2600000 $common --calib-tokens 1024 --recover -q
moesaic compress -o killed.moe $common --calib-tokens 1024 --recover -q --resume
cmp with.moe killed.moe && ls killed.moe killed.moe.partial killed.moe.journal 2>/dev/null || true
