# Perplexity as transformers computes it (texts/reference_perplexity.json), over the smallest of the texts.
moesaic eval --text "$DATA/texts/eval_multilingual.txt" --window 512 --json | python3 -c "
import json, os, sys
have, want = json.load(sys.stdin), json.load(open(os.environ['DATA'] + '/texts/reference_perplexity.json'))['eval_multilingual.txt']
print(have['tokens'] == want['tokens'], have['scored'] == want['scored'], have['bytes'] == want['bytes'],
      abs(have['nll'] / want['nll'] - 1) < 1e-5)"
