# Overlapping windows score every token but the first once, and lose less context.
head -c 6000 "$DATA/texts/eval_tales.txt" >text
moesaic eval --text text --window 128 --json >apart.json
moesaic eval --text text --window 128 --stride 32 --nll nll.safetensors --json >overlap.json
python3 -c "
import json, tensor_file
a, o = json.load(open('apart.json')), json.load(open('overlap.json'))
values = tensor_file.numbers(tensor_file.read('nll.safetensors')['nll'])
print(o['scored'] == o['tokens'] - 1, a['scored'] == a['tokens'] - -(-a['tokens'] // 128), o['perplexity'] < a['perplexity'],
      len(values) == o['scored'], abs(sum(values) / o['nll'] - 1) < 1e-6)"
