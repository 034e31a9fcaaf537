# Exported machines: cores on five of eight nodes, and a memory expander that no core is nearest to.
for name in cores_on_five_of_eight expander; do
    moesaic topology --xml "$DATA/topologies/$name.xml" --json |
        python3 -c "
import json, sys
d = json.load(sys.stdin)
print([(n['cores'], n['memory_bytes'] >> 30) for n in d['nodes']], d['read_bytes_s'][0][-1] / d['read_bytes_s'][0][0])"
done
