# No room for the artifact (a limit on the size of files, which needs no root): exit 1, one line that names the file,
# nothing under the artifact's name, and --resume with room ends with the same bytes. An export leaves no half weights.
trap '' XFSZ
common="--no-report --calib $DATA/texts/calib.txt --calib-tokens 128 --quant rtn:int4-g64 --threads 1"
moesaic compress -o whole.moe $common -q
for limit in 100 $((RANDOM % 9000 + 3100)) 12650; do # before the first layer's end, within the layers, in the tail
    (ulimit -f $limit; moesaic compress -o full.moe $common -q) 2>err || echo "exit $?"
    sed 's/offset [0-9]*/offset N/' err
    ls full.moe* | tr '\n' ' '
    moesaic compress -o full.moe $common --resume --json | python3 -c "import json, sys; print(json.load(sys.stdin)['resumed_layers'] > 0)"
    cmp whole.moe full.moe && rm full.moe && ls full.moe* 2>/dev/null || true
done
(ulimit -f 1000; moesaic export whole.moe -o folder -q) 2>err || echo "exit $?"
cat err
ls folder | grep -c safetensors || true
