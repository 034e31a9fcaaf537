# The same input gives the same plan, byte for byte; one line on standard output for each policy.
head -c 3000 "$DATA/texts/eval_tales.txt" >text
moesaic trace --text text -o trace.safetensors -q >/dev/null
for plan in a b; do
    moesaic place --trace trace.safetensors --xml "$DATA/topologies/two_sockets.xml" --policy whole -o $plan.plan \
        >$plan.txt
done
cmp a.plan b.plan
cmp a.txt b.txt
grep -c -e simulated -e '^slice' -e '^whole' -e '^replicate' -e '^interleave' a.txt
