# Every damaged checkpoint of tests/data/bad: `run` ends with 3 and one line that names the file; `inspect`, which reads no
# weights, does the same for all but the one whose weights are no numbers. Nothing goes to standard output.
lay() { # lay NAME: the folder, laid over the valid checkpoint
    rm -rf laid && cp -r "$DATA/bad/_valid" laid && chmod -R u+w laid
    [ ! -e "$DATA/bad/$1/model.safetensors.index.json" ] || rm laid/model.safetensors
    cp "$DATA/bad/$1/"* laid/
}
check() { # check NAME STATUS COMMAND...: prints what is wrong
    local name=$1 status=$2 have=0
    shift 2
    "$@" >out 2>err || have=$?
    [ "$have" = "$status" ] || echo "$name: $2: exit $have, expected $status"
    [ "$status" = 3 ] || return 0
    [ ! -s out ] || echo "$name: $2: wrote to standard output"
    [ "$(wc -l <err)" = 1 ] && grep -q '^moesaic: .*laid' err || { echo "$name: $2: not one line with the file:"; cat err; }
}
lay _valid
check _valid 0 moesaic run laid --ids 1,2,3 -n 2 -q
count=0
for folder in "$DATA"/bad/*/; do
    name=$(basename "$folder")
    case $name in _valid | gguf-*) continue ;; esac
    lay "$name"
    readable=3
    [ "$name" != weights-nan ] || readable=0
    check "$name" 3 moesaic run laid --ids 1,2,3 -n 2
    check "$name" $readable moesaic inspect laid
    count=$((count + 1))
done
echo "$count folders"
