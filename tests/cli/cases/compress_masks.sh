# What was pruned and exported is compressed again by the same masks, whatever its weights have become.
common="--no-report --calib $DATA/texts/calib.txt --calib-tokens 600 -q"
moesaic compress "$DATA/bad/_valid" -o first.moe $common --preset int4-sparse50
moesaic export first.moe -o folder -q
python3 - <<'EOF'
import tensor_file
def flipped(data):  # every third sign
    data = bytearray(data)
    data[1::6] = bytes(b ^ 0x80 for b in data[1::6])
    return bytes(data)
tensors = tensor_file.read("folder/model.safetensors")
tensor_file.write("folder/model.safetensors", {name: (kind, shape, flipped(data) if ".experts." in name else data)
                                               for name, (kind, shape, data) in tensors.items()})
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
import tensor_file
tensor_file.write("other/masks.safetensors", {"a": ("U8", [1, 8], bytes(8))})
EOF
check --masks other --prune magnitude:0.5 --threads 1
