# Every damaged artifact is refused with 3 and one line that names it: by inspect --verify wherever the byte lies, and by run
# without a crash whatever it says.
moesaic compress "$DATA/bad/_valid" -o good.moe --calib "$DATA/texts/calib.txt" --calib-tokens 300 -q
refused() { # refused WHAT COMMAND...
    local what=$1 have=0
    shift
    "$@" >out 2>err || have=$?
    [ "$have" = 3 ] && [ "$(wc -l <err)" = 1 ] && grep -q '^moesaic: .*bad\.moe' err || { echo "$what: exit $have"; cat err; }
}
survives() { # survives WHAT COMMAND...: not by a signal
    local what=$1 have=0
    shift
    "$@" >out 2>err || have=$?
    [ "$have" -lt 126 ] || echo "$what: exit $have"
}
size=$(stat -c %s good.moe)
python3 -c "
import random, sys
random.seed(5)
print(*[0, 8, 16, 40, 64, 200, $size - 1], *(random.randrange($size) for _ in range(24)))" >places
for at in $(cat places); do
    python3 - "$at" <<'END'
import sys
raw = bytearray(open("good.moe", "rb").read())
raw[int(sys.argv[1])] ^= 0x41
open("bad.moe", "wb").write(raw)
END
    refused "byte $at" moesaic inspect bad.moe --verify
    survives "byte $at" moesaic run bad.moe --ids 1,2,3 -n 2 -q
done
for bytes in 0 7 100 5000 $((size / 2)) $((size - 1)); do
    head -c "$bytes" good.moe >bad.moe
    refused "cut to $bytes" moesaic inspect bad.moe --verify
    refused "cut to $bytes" moesaic run bad.moe --ids 1,2,3 -n 2
done
wc -w <places
