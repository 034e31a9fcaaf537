# Sampling depends on the seed alone: threads, instruction set and prompt chunks change nothing.
for options in "--threads 1" "--threads 2" "--threads 3 --isa avx2" "--isa scalar"; do
    moesaic run -p "In the deep forest" -n 24 -q --temp 0.9 --top-p 0.95 --seed 11 $options | cksum
done | sort -u | wc -l
moesaic run -p "In the deep forest" -n 24 -q --temp 0.9 --top-p 0.95 --seed 12 | cksum >other
moesaic run -p "In the deep forest" -n 24 -q --temp 0.9 --top-p 0.95 --seed 11 | cksum | cmp -s - other || echo differs
