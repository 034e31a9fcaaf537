# The decision tree: tolerances that lead to every answer, and nothing left behind.
mkdir tmp
export TMPDIR=$PWD/tmp
common="--calib $DATA/texts/calib.txt --calib-tokens 128 --tokens 256 --threads 1"
small=$DATA/bad/_valid
advise() { # advise OPTION...: the verdict, the choice, and the branches whose words are given on standard input
    moesaic advise $common "$@" --json >advice.json
    python3 -c "
import json, sys
r = json.load(open('advice.json'))
print(r['verdict'], r['chosen'], [c['name'] for c in r['candidates']])
for words in sys.stdin.read().split('\n'):
    print([(s['yes'], s['branch']) for s in r['walk'] if words and words in s['question']]) if words else 0"
}
echo 'fit
fast' | advise --memory 1GiB --min-tok-s 0.01
echo 'INT4
INT3
half
2:4' | advise "$small" --max-kl 0.3 | sed 's/, .budget.\]/]/'
echo 'INT8' | advise "$small" --max-kl 1e-6
echo 'INT8
fit' | advise "$small" --memory 100KiB --max-kl 1e-6
echo 'fast' | advise "$small" --min-tok-s 1e9
echo 'per expert' | advise "$small" --memory 80KiB --max-kl 10
ln -s "$small" "the king's model"
moesaic advise "the king's model" $common --memory 98KiB --max-kl 0.2 >text
bash -c "$(sed -n "s/^  moesaic compress/moesaic compress/p" text) --no-report -q" && moesaic inspect OUT.moe --verify -q >/dev/null && echo "the command works"
ls -A tmp
moesaic advise $common 2>err &
pid=$!
while [ -z "$(ls tmp)" ]; do sleep 0.05; done
kill -INT "$pid"
wait "$pid" || echo "exit $?"
ls -A tmp
check() { # check OPTION...: status and message
    moesaic advise "$@" 2>err || echo "$? $(sed "s|$PWD/||" err)"
}
# Without a text the model writes one itself, the same in every run, and the answer says so.
for run in 1 2; do
    moesaic advise "$small" --calib-tokens 128 --tokens 64 --max-kl 10 --threads $run --json >sampled$run
done
python3 -c "
import json
one, two = (json.load(open(f)) for f in ('sampled1', 'sampled2'))
print(one['calibration'], '--calib TEXT' in one['command'])
print([(s['answer'], s['branch']) for s in one['walk'] if 'text to calibrate' in s['question']])
print('same', [c['kl_mean'] for c in one['candidates']] == [c['kl_mean'] for c in two['candidates']])"
check --calib "$DATA/texts/calib.txt" --memory much
check OUT.moe --calib "$DATA/texts/calib.txt"
TMPDIR=$PWD/none check "$small" --calib "$DATA/texts/calib.txt"
