# A worst token that spells a NUL byte is a character of the report like any other.
base=$DATA/checkpoints/mixtral
moesaic compress "$base" -o packed.moe --calib "$DATA/texts/calib.txt" --calib-tokens 600 --no-report -q \
    --quant awq:int8-g32 --attention bf16 --head bf16
moesaic compare "$base" packed.moe --text "$DATA/texts/calib.txt" --tokens 512 --no-speed --json -q |
    python3 -c "import json, sys; print(any('\0' in w['top'] + w['base_top'] for w in json.load(sys.stdin)['worst']))"
