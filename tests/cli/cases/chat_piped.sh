# Lines from a pipe: an answer to each, as the template and `run` give it, and the end of input leaves.
printf 'Tell me a tale.\nAnd then?\n' | moesaic chat --temp 0 -n 12 -q >two
printf 'Tell me a tale.\n' | moesaic chat --temp 0 -n 12 -q >one
[ "$(wc -c <two)" -gt "$(($(wc -c <one) + 10))" ] && head -c "$(wc -c <one)" two | cmp - one && echo 'two answers'
ids=$(echo '{"messages":[{"role":"user","content":"Tell me a tale."}],"add_generation_prompt":true}' |
    moesaic template | moesaic tokenize --no-special | tr -d '[] ')
moesaic run --ids "$ids" -n 12 -q | cmp - one && echo 'as run'
printf '\xff\xfe\n' | moesaic chat -q 2>/dev/null || echo "exit $?"
