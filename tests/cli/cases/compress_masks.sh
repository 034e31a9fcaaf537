# What was pruned and exported is compressed again by the same masks, whatever its weights have become.
common="--no-report --calib $DATA/texts/calib.txt --calib-tokens 600 -q"
moesaic compress "$DATA/bad/_valid" -o first.moe $common --preset int4-sparse50
moesaic export first.moe -o folder -q
python3 - <<'EOF'
import json, pathlib, struct
path = pathlib.Path("folder/model.safetensors")
data = bytearray(path.read_bytes())
begin = 8 + struct.unpack("<Q", data[:8])[0]
for name, t in json.loads(data[8:begin]).items():
    if ".experts." in name:
        for i in range(begin + t["data_offsets"][0], begin + t["data_offsets"][1], 2):
            data[i + 1] ^= (i // 2 % 3 == 0) << 7
path.write_bytes(data)
EOF
moesaic compress folder -o chosen.moe $common --prune magnitude:0.25 --quant rtn:int4-g64
for method in sparsegpt magnitude; do
    rm -rf again
    moesaic compress folder -o again.moe $common --masks folder --prune $method:0.9 --quant rtn:int4-g64
    moesaic export again.moe -o again -q
    cmp folder/masks.safetensors again/masks.safetensors && echo "$method: the same masks"
done
moesaic compress folder -o one.moe $common --masks folder --prune magnitude:0.9 --quant rtn:int4-g64 --threads 1
cmp again.moe one.moe
moesaic export chosen.moe -o chosen -q
cmp -s folder/masks.safetensors chosen/masks.safetensors || echo 'others without them'
check() { # check OPTION...: status and message
    moesaic compress folder -o none.moe $common "$@" 2>err || echo "$? $(cat err)"
}
check --masks folder --prune none
check --masks folder --preset int4-sparse50 --prune structured:0.5
check --masks nowhere --prune magnitude:0.5
mkdir other
python3 - <<'EOF'
import json, struct
header = json.dumps({"a": {"dtype": "U8", "shape": [1, 8], "data_offsets": [0, 8]}}).encode()
header += b" " * (-len(header) % 8)
open("other/masks.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + bytes(8))
EOF
check --masks other --prune magnitude:0.5 --threads 1
