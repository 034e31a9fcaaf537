# A NUL byte in the context of a worst token is a character of the report like any other.
base=$DATA/checkpoints/mixtral
moesaic compress "$base" -o packed.moe --calib "$DATA/texts/calib.txt" --calib-tokens 600 --no-report -q \
    --quant rtn:int4-g32 --attention bf16 --head bf16
for i in $(seq 100); do printf 'once\0upon a time, %d' "$i"; done >text
moesaic compare "$base" packed.moe --text text --tokens 512 --no-speed --json -q |
    python3 -c "import json, sys; print(any('\0' in w['context'] for w in json.load(sys.stdin)['worst']))"
