# The chosen token leads its alternatives when decoding greedily, and probabilities are probabilities.
moesaic run -p "Once upon a time" -n 5 --logprobs 3 --json | python3 -c "
import json, math, sys
entries = json.load(sys.stdin)['logprobs']
print(len(entries), all(e['top'][0]['id'] == e['id'] and e['top'][0]['logprob'] == e['logprob'] for e in entries),
      all(len(e['top']) == 3 and 0 < sum(math.exp(t['logprob']) for t in e['top']) <= 1 for e in entries))"
