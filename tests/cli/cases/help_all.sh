# Every verb that the program lists explains itself.
for verb in $(moesaic --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
    moesaic "$verb" --help | grep -q "^usage: moesaic $verb" || echo "$verb: no help"
done
moesaic --version | head -n 1
