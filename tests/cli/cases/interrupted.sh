# Ctrl-C ends long work with its own status.
timeout --preserve-status -s INT 0.5 moesaic eval --isa scalar --threads 1 --text "$DATA/texts/calib.txt" || echo "exit $?"
