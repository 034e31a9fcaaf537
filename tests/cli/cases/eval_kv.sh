# F16 and INT8 caches hold nearly what F32 holds, and are not taken for it; the same ids whatever the threads.
head -c 9000 "$DATA/texts/eval_tales.txt" >text
for kv in f32 f16 int8; do
    moesaic eval --text text --kv $kv --json >$kv.json
done
python3 -c "
import json
f32, f16, int8 = (json.load(open(f'{kv}.json'))['nll'] for kv in ('f32', 'f16', 'int8'))
print(0 < abs(f16 / f32 - 1) < 2e-4, 0 < abs(int8 / f32 - 1) < 2e-3)"
for options in "--threads 1" "--threads 2 --isa avx2" "--threads 3 --isa scalar"; do
    moesaic run -p "In the deep forest" -n 24 -q --temp 0.9 --seed 3 --kv int8 $options | cksum
done | sort -u | wc -l
moesaic run -p "In" -n 1 -q --kv int4 2>&1 || echo "exit $?"
