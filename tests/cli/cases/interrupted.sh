# Ctrl-C ends long work with its own status.
timeout -s INT 0.5 --preserve-status moesaic eval --isa scalar --threads 1 --text "$DATA/texts/calib.txt" || echo "exit $?"
