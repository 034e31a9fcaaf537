# AWQ: scales folded into the norm, the router, the shared expert's gate and up change nothing but the rounding, in every
# family; the bytes are the same whatever the threads and the instruction set, and when gone on from a kill.
common="--no-report -q --calib $DATA/texts/calib.txt --attention bf16 --head bf16"
for model in olmoe qwen2_moe mixtral llama; do
    source=$DATA/checkpoints/$model
    moesaic compress "$source" -o awq.moe $common --calib-tokens 600 --quant awq:int8-g32
    moesaic compress "$source" -o rtn.moe $common --calib-tokens 600 --quant rtn:int8-g32
    moesaic export awq.moe -o "$model" -q
    ids=$(seq -s, 20 83)
    moesaic logits "$source" --ids "$ids" -o base.safetensors -q
    moesaic logits awq.moe --ids "$ids" -o awq.safetensors -q
    moesaic logits rtn.moe --ids "$ids" -o rtn.safetensors -q
    python3 - "$model" "$source" <<'END'
import sys, tensor_file
def norm(folder):
    return tensor_file.read_folder(folder)["model.layers.0.post_attention_layernorm.weight"]
base, awq, rtn = (tensor_file.numbers(tensor_file.read(f"{n}.safetensors")["logits"]) for n in ("base", "awq", "rtn"))
def miss(other):  # of the middle one of 64 tokens: a router that flips is no error of the fold
    squares, vocab = [(a - b) ** 2 for a, b in zip(base, other)], len(base) // 64
    return sorted(sum(squares[i:i + vocab]) for i in range(0, len(squares), vocab))[32]
print(sys.argv[1], "folded", norm(sys.argv[1]) != norm(sys.argv[2]), "as near", miss(awq) < 2 * miss(rtn))
END
done
model=$DATA/checkpoints/qwen2_moe
options="$common --calib-tokens 600 --quant awq:int4-g32 --prune wanda:0.5 --recover --drop-experts frequency:0.25"
moesaic compress "$model" -o out.moe $options
for cpu in scalar avx2; do
    MOESAIC_CPU=$cpu moesaic compress "$model" -o same.moe $options --threads $([ $cpu = scalar ] && echo 1 || echo 2)
    cmp out.moe same.moe
done
options="$common --calib-tokens 600 --quant awq:int4-g128"
moesaic compress -o whole.moe $options
python3 -m kill_compress 6000000 $options
moesaic compress -o killed.moe $options --resume
cmp whole.moe killed.moe && echo 'the same'
for part in attention head embedding; do
    echo "{\"$part\":{\"quant\":\"awq\"}}" >recipe.json
    moesaic compress -o none.moe --no-report --calib "$DATA/texts/calib.txt" --recipe recipe.json 2>err || echo "$? $(cat err)"
done
