# The counts of the file are those of its own choices.
head -c 3000 "$DATA/texts/eval_tales.txt" >text
moesaic trace --text text -o out.safetensors --window 64 --json >report.json
python3 - <<'END'
import json
from tensor_file import numbers, read
trace = read("out.safetensors")
(L, T, k), (_, E) = trace["experts"][1], trace["counts"][1]
experts, counts, pairs, moves, sequence = (
    numbers(trace[name]) for name in ("experts", "counts", "coactivation", "transitions", "sequence"))
want, pairs_want, moves_want = [0] * (L * E), [0] * (L * E * E), [0] * (L * E * E)
for l in range(L):
    for t in range(T):
        row = experts[(l * T + t) * k:(l * T + t + 1) * k]
        before = experts[(l * T + t - 1) * k:(l * T + t) * k] if t and sequence[t] == sequence[t - 1] else []
        for e in row:
            want[l * E + e] += 1
            for other in row:
                pairs_want[(l * E + e) * E + other] += other != e
            for other in before:
                moves_want[(l * E + other) * E + e] += 1
report = json.load(open("report.json"))
print(list(counts) == want, list(pairs) == pairs_want, list(moves) == moves_want, report["tokens"] == T,
      report["sequences"] == -(-T // 64), [x["layer"] for x in report["layers"]])
END
