# Too little memory for any plan: how much is missing, and what would fit.
head -c 3000 "$DATA/texts/eval_tales.txt" >text
moesaic trace --text text -o trace.safetensors -q >/dev/null
moesaic place --trace trace.safetensors --synthetic "pack:2 [numa(memory=16MB)] core:8 pu:1"
