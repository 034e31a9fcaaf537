# An exported checkpoint is the checkpoint.
moesaic export -o out -q
moesaic run out -p "The sea was calm" -n 10 -q >a
moesaic run -p "The sea was calm" -n 10 -q >b
cmp a b && echo same
moesaic export -o out 2>message || echo "exit $?"
grep -c 'not empty' message
