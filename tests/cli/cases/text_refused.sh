# What is wrong with a text is said with the place it came from.
model=$DATA/bad/_valid
printf 'A' >short
printf 'AB\xff' >bytes
check() { # check COMMAND...: its status and its one line
    "$@" >out 2>err || echo "$? $(cat err)"
}
for text in short bytes; do
    check moesaic eval "$model" --text $text
    check moesaic trace "$model" --text $text -o trace
    check moesaic compare "$model" "$model" --text "$DATA/texts/calib.txt" --text other=$text --tokens 16 --no-speed
    check moesaic compress "$model" -o out.moe --calib $text
    check moesaic advise "$model" --calib "$DATA/texts/calib.txt" --calib-tokens 64 --text $text
    check moesaic advise "$model" --calib $text
done
check moesaic eval "$model" --text - <bytes
check moesaic run "$model" -f bytes
check moesaic run "$model" -p "$(cat bytes)"
