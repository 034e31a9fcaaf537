# A machine that is not here, in words: nodes, caches, and speeds that are assumed or given.
moesaic topology --synthetic "pack:2 [numa(memory=64GB)] l3:1(size=32MB) core:4 pu:2" --local-gbs 100
moesaic topology --synthetic "pack:2 [numa(memory=64GB)] core:4 pu:2" --local-gbs 100 --remote-gbs 40 --gops 50 --json |
    python3 -c "
import json, sys
d = json.load(sys.stdin)
print(d['schema'], *sorted(k for k in d if k != 'schema'))
print(d['speeds'], d['this_machine'], d['nodes'][1], d['read_bytes_s'])"
