# The 32 greedy tokens of the reference for each prompt.
for prompt in short medium long; do
    ids=$(python3 -c "import json; print(*json.load(open('$DATA/fable-moe/golden.json'))['prompts']['$prompt']['ids'], sep=',')")
    moesaic run "$DATA/fable-moe" --ids "$ids" -n 32 --ignore-eos --json >"$prompt.json"
    python3 - "$prompt" <<'END'
import json, os, sys
have = json.load(open(f"{sys.argv[1]}.json"))
want = json.load(open(os.environ["DATA"] + "/fable-moe/golden.json"))["prompts"][sys.argv[1]]
print(sys.argv[1], have["ids"] == want["greedy"], have["prompt_ids"] == want["ids"], have["completion_tokens"])
END
done
