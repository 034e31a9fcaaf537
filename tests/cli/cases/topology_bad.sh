# Impossible machines, each named, none of them built.
printf '<topology' >broken.xml
: >empty.xml
check() {
    code=0
    moesaic topology "$@" 2>message >/dev/null || code=$?
    echo "$code $(cut -c 1-100 message)"
}
check --synthetic "nonsense"
check --synthetic "pu:4000000000"
check --synthetic "node:100 core:1 pu:1"
check --synthetic "pack:2 [numa(memory=0)] core:1 pu:1"
check --xml broken.xml
check --xml empty.xml
check --xml missing.xml
check --synthetic "node:1 core:1 pu:1" --xml broken.xml
check --synthetic "node:1 core:1 pu:1" --measure
check --measure --gops 5
check --local-gbs -4
check --read-fraction 2
check extra
