# Every policy on two machines, from a trace of the model itself: what must hold of the predictions.
head -c 6000 "$DATA/texts/eval_tales.txt" >text
moesaic trace --text text -o trace.safetensors -q >/dev/null
two="pack:2 [numa(memory=1GB)] core:8 pu:1"
for policy in auto interleave slice whole replicate; do
    moesaic place --trace trace.safetensors --synthetic "$two" --policy $policy -o $policy.plan --json >$policy.json
done
moesaic place --trace trace.safetensors --synthetic "$two" --batch 16 --local-gbs 100 --remote-gbs 50 --gops 80 \
    --policy whole --against slice.plan --json >batch.json
moesaic place --trace trace.safetensors --synthetic "node:1(memory=1GB) core:4 pu:1" --json >one.json
python3 - <<'END'
import json
read = lambda name: json.load(open(name + ".json"))
auto, one, batch = read("auto"), read("one"), read("batch")
print(auto["schema"], *sorted(k for k in auto if k != "schema"))
print(*sorted(auto["policies"][0]))
print([p["policy"] for p in auto["policies"]], auto["source"], auto["speeds"])
speed = {p["policy"]: p["predicted_tok_s"] for p in auto["policies"]}
print("auto is within 5 % of the best:", speed[auto["policy"]] * 1.05 >= max(speed.values()),
      "and best is", auto["best"] == max(speed, key=speed.get))
print("never slower than interleave:", speed[auto["best"]] >= speed["interleave"])
for policy in ("interleave", "slice", "whole", "replicate"):
    d = read(policy)
    counts = [len(nodes) for layer in d["experts"] for nodes in layer]
    print(policy, d["policy"], d["reason"] if policy != auto["policy"] else "asked for", min(counts),
          "one node or more" if policy == "replicate" else max(counts))
print("one node:", one["policy"], {p["remote_bytes_per_token"] for p in one["policies"]},
      {n for layer in one["experts"] for nodes in layer for n in nodes})
print("batch:", batch["batch"], batch["speeds"], batch["policy"], batch["against"]["prediction"]["policy"],
      batch["against"]["experts_moved"] == sum(len(layer) for layer in batch["experts"]))
plan = json.load(open("slice.plan"))
print(plan["schema"], plan["policy"], plan["nodes"], plan["model"]["layers"] == len(auto["experts"]))
END
