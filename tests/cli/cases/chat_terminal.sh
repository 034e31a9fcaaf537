# At a terminal: Ctrl-C ends the answer and the conversation goes on, history brings a line back, Ctrl-D leaves with 0.
python3 - <<'END'
import os, pty, select, sys, time

seen, at = b"", 0

def wait_for(want, more=0):
    """Reads until `want` and `more` bytes behind it were shown, after what earlier calls waited for."""
    global seen, at
    end = time.monotonic() + 60
    while seen.find(want, at) < 0 or len(seen) < seen.find(want, at) + len(want) + more:
        if time.monotonic() > end:
            sys.exit(f"{want!r} was not shown: {seen!r}")
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536)
    at = seen.find(want, at) + len(want)

child, terminal = pty.fork()
if not child:
    os.execvp("moesaic", ["moesaic", "chat", "--temp", "0.9", "--seed", "3", "-n", "100000", "--isa", "scalar", "--threads", "1"])
wait_for(b"> ")
for line, shown in ((b"Tell me a long tale.\n", "stopped"), (b"\x1b[A\n", "and again")):
    os.write(terminal, line)
    wait_for(b"Tell me a long tale.\r\n", more=40)
    os.write(terminal, b"\x03")
    wait_for(b"stopped]")
    wait_for(b"> ")
    print(shown)
time.sleep(0.3)
end, done = time.monotonic() + 30, (0, 0)
while not done[0] and time.monotonic() < end:
    os.write(terminal, b"\x15\x04")  # on a line wiped clean; again, should the first have come while the terminal changed
    time.sleep(0.2)
    if select.select([terminal], [], [], 0)[0]:
        try:
            os.read(terminal, 65536)
        except OSError:
            pass  # the other side is closed
    done = os.waitpid(child, os.WNOHANG)
if not done[0]:
    os.kill(child, 9)
print("left with", os.waitstatus_to_exitcode(done[1]) if done[0] else "nothing")
END
