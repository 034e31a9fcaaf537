# What cannot be compressed: a recipe with a key that nobody knows, a text too short, an option's value out of range.
check() { # check COMMAND...: its status and its one line
    local have=0
    "$@" >out 2>err || have=$?
    [ ! -s out ] && [ "$(wc -l <err)" = 1 ] || { echo 'not one line:'; cat out err; }
    echo "$have $(cat err)"
}
model=$DATA/bad/_valid
head -c 2000 "$DATA/texts/calib.txt" >text
echo '{"experts":{"speed":"high"}}' >unknown.json
echo '{"experts":' >cut.json
printf 'A' >short
printf '\xff\xfe\xfd' >bytes
check moesaic compress "$model" -o out.moe --calib text --recipe unknown.json
check moesaic compress "$model" -o out.moe --calib text --recipe cut.json
check moesaic compress "$model" -o out.moe --calib short
check moesaic compress "$model" -o out.moe --calib bytes
check moesaic compress "$model" -o out.moe --calib text --preset tiny
check moesaic compress "$model" -o out.moe --calib text --quant gptq:int5-g64
check moesaic compress "$model" -o /nonexistent/out.moe --calib text
check moesaic compress "$model" --calib text
ls ./*.moe* 2>/dev/null || echo 'nothing is left'
