# Damaged GGUF files end with 3 and one line that names the file.
for file in "$DATA"/bad/gguf-*/model.gguf; do
    for verb in inspect "run --ids 1,2,3 -n 2"; do
        have=0
        moesaic ${verb%% *} "$file" ${verb#"${verb%% *}"} >out 2>err || have=$?
        [ "$have" = 3 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] && grep -qF "$file" err ||
            { echo "$file: $verb: exit $have"; cat out err; }
    done
    echo "$(basename "$(dirname "$file")")"
done
