"""Jobs that start at once: each is a fork of one process that has imported torch, in place of a Python of its own.

The command `fewframes` in `Warm.folder` hands its words, folder, environment and open files to that process, waits for
the fork's exit code, and passes signals on; killed, it takes the fork along. `test_kill` and Slurm's tests do without.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback

COMMAND = """#!{python} -IS
import json, os, signal, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    said = [sys.argv[1:], os.getcwd(), dict(os.environ)]
    server.sendall(json.dumps(said).encode() + b"\\n")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: server.sendall(bytes([number])))
    sys.exit((server.recv(1) or b"\\1")[0])
"""


class Warm:
    """The process from which jobs are forked, until `close`; `folder` goes before all others in PATH."""

    def __init__(self, folder, environment):
        self.folder = folder
        address = str(folder / "socket")
        command = folder / "fewframes"
        command.write_text(COMMAND.format(python=sys.executable, address=address))
        command.chmod(0o755)
        self._server = subprocess.Popen(
            [sys.executable, __file__, address], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._server.stdout.readline() == b"ready\n"

    def close(self):
        """End it."""
        self._server.communicate()


def serve(address):
    """Fork for every command that calls, until standard input ends."""
    import fewframes.cli
    import fewframes.labelling.propagation.sam2.engine
    import fewframes.learning.evaluation
    import fewframes.learning.training  # noqa: F401

    threading.Thread(target=_end_with_input, daemon=True).start()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that attend to a call
    while True:
        call, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _attend(call)
            os._exit(0)
        call.close()


def _attend(call):
    """Do what is asked for in a fork, and stay between the two."""
    _, files, _, _ = socket.recv_fds(call, 1, 3)
    said = b""
    while not said.endswith(b"\n"):
        said += call.recv(1 << 16)
    job = os.fork()
    if job == 0:
        call.close()
        _work(files, *json.loads(said))
    ended = os.pidfd_open(job)
    while True:
        ready, _, _ = select.select([ended, call], [], [])
        if ended in ready:
            code = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
            call.sendall(bytes([code if code >= 0 else 128 - code]))
            return
        numbers = call.recv(16)
        for number in numbers or [signal.SIGKILL]:
            os.kill(job, number)


def _work(files, words, folder, environment):
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv = ["fewframes", *words]
    code = 1
    try:
        sys.modules["fewframes.cli"].main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end_with_input():
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
