# Counted by hand for the bundled model. A layer: q 256x256, k and v 128x256, o 256x256, router 16x256 and experts of
# 3 x 256x256; norms 2x256 + 2x64. Embedding, tied: 4096x256; the last norm: 256.
#   total  = 6 x (196608 + 4096 + 16 x 196608 + 640) + 1048576 + 256 = 21131264
#   active = 6 x (196608 + 4096 +  2 x 196608 + 640) + 1048576 + 256 =  4616192
#   FLOPs  = 2 x (6 x (196608 + 4096 + 2 x 196608) + 1048576)        =  9224192
moesaic inspect --json | python3 -c "
import json, sys
r = json.load(sys.stdin)
print(r['total_parameters'], r['active_parameters'], r['flops_per_token'], r['attention_flops_per_position'], r['kv_bytes_per_token'])"
