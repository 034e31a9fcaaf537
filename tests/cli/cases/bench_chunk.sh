# Smaller chunks of a prompt read the weights more often, and too large ones are refused.
for chunk in 32 160; do
    moesaic bench "$DATA/checkpoints/qwen3_moe" -p 160 -n 1 -r 1 --chunk $chunk --threads 1 --json >$chunk.json
done
python3 - <<'END'
import json

small, whole = (json.load(open(f"{chunk}.json"))["prompt"]["bytes_per_token"] for chunk in (32, 160))
print(3 * whole < small < 5.01 * whole)
END
moesaic bench "$DATA/checkpoints/qwen3_moe" --chunk 65537 -p 16
