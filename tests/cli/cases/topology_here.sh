# This machine, measured: no more memory than it has, no more cores than the process may use.
moesaic topology --measure --json >here.json
python3 -c "
import json, os
d = json.load(open('here.json'))
total = int(open('/proc/meminfo').readline().split()[1]) * 1024
print(d['this_machine'], d['speeds'], 0 < sum(n['memory_bytes'] for n in d['nodes']) <= total,
      1 <= sum(n['cores'] for n in d['nodes']) <= len(os.sched_getaffinity(0)), d['read_bytes_s'][0][0] > 1e8,
      sum(n['int8_ops_s'] for n in d['nodes']) > 1e8)"
