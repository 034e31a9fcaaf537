# The counts of the file are those of its own choices.
head -c 3000 "$DATA/texts/eval_tales.txt" >text
moesaic trace --text text -o out.safetensors --window 64 --json >report.json
python3 - <<'END'
import json, struct
raw = open("out.safetensors", "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
head = json.loads(raw[8:8 + size])
def read(name, letter, width):
    b, e = head[name]["data_offsets"]
    return struct.unpack(f"<{(e - b) // width}{letter}", raw[8 + size + b:8 + size + e]), head[name]["shape"]
experts, (L, T, k) = read("experts", "H", 2)
counts, (_, E) = read("counts", "q", 8)
pairs, _ = read("coactivation", "q", 8)
moves, _ = read("transitions", "q", 8)
sequence, _ = read("sequence", "i", 4)
want = [0] * (L * E)
follow = pair = 0
for l in range(L):
    for t in range(T):
        row = experts[(l * T + t) * k:(l * T + t + 1) * k]
        for e in row:
            want[l * E + e] += 1
pairs_want, moves_want = L * T * k * (k - 1), L * k * k * sum(sequence[t] == sequence[t - 1] for t in range(1, T))
report = json.load(open("report.json"))
print(list(counts) == want, sum(pairs) == pairs_want, sum(moves) == moves_want, report["tokens"] == T,
      report["sequences"] == -(-T // 64), [x["layer"] for x in report["layers"]])
END
