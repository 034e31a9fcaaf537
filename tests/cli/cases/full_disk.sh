moesaic inspect --json >/dev/full
