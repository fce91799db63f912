"""A process that has imported torch already and becomes a job: the workflow starts one, so that not every job imports for seconds.

It holds libraries of others and nothing of ours, so that a job runs the code that its run names. It forks for each job. The process that
would have been the job hands over what makes it that (arguments, folder, environment, standard streams), passes on the signals that it
gets, and ends as the job ends; if one of them is killed, so is the other. Where there is no such process (in a container, on another
machine, on no Linux, for a job started by hand) a job imports for itself.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from suite import processor

ADDRESS = "BIONAS_WARM"  # where it listens; set by the workflow for its jobs
LIBRARIES = ("yaml", "rich.progress", "h5py", "cma", "torch", "torchattacks")  # whose import takes long
WORTH = 3  # jobs from which on it saves more than it takes
SIGNALS = (signal.SIGTERM, signal.SIGINT)
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_held: list[subprocess.Popen[bytes]] = []  # for as long as this process lives


def start(log: Path) -> None:
    """Start it, and let jobs know. It ends after this process, however that ends, and after its jobs."""
    if not hasattr(os, "pidfd_open"):
        return
    address = f"bionas-{secrets.token_hex(16)}"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        command = [sys.executable, "-m", "suite.warm", address]
        _held.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said, start_new_session=True))
    os.environ[ADDRESS] = address


def hand_over() -> None:
    """Have the warm process do what this one was started for, and end as that ends; return if there is none, or it is gone."""
    address = os.environ.pop(ADDRESS, "")
    if not address:
        return
    asked: list[int] = []

    def pass_on(number: int, _frame: Any) -> None:
        asked.append(number)
        warm.send(bytes([number]))

    with socket.socket(socket.AF_UNIX) as warm:
        try:
            warm.connect(f"\0{address}")
            _same_user(warm)
            job = {"argv": sys.argv, "command": sys.orig_argv, "folder": str(Path.cwd()), "environment": dict(os.environ)}
            text = json.dumps(job).encode()
            socket.send_fds(warm, [len(text).to_bytes(4, "big")], [0, 1, 2])
            warm.sendall(text)
            for number in SIGNALS:
                signal.signal(number, pass_on)
            ended = warm.recv(4)
        except OSError:
            ended = b""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if ended:
        status = os.waitstatus_to_exitcode(int.from_bytes(ended, "big"))
    elif asked:
        status = -asked[-1]
    else:
        return
    if status < 0:
        os.kill(os.getpid(), -status)  # so that the shell says of this process what it would have said of the job
    os._exit(status)


def serve(address: str) -> dict[str, Any]:
    """Fork for every job that is asked for, and return in the child, with the job. The parent ends when its stdin does."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{address}")  # a name of the kernel's, and no file: nothing is left of it, however this process ends
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch jobs
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        asking, _ = listener.accept()
        if os.fork() == 0:
            listener.close()  # else it would be open as long as the job
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _same_user(asking)
            size, streams, *_ = socket.recv_fds(asking, 4, 3)
            job: dict[str, Any] = json.loads(asking.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
            if pid := os.fork():
                _watch(pid, asking)
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            asking.detach()
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            return job
        asking.close()
    sys.exit()


def _same_user(other: socket.socket) -> None:
    """Such a name belongs to whoever takes it. Raises PermissionError if that is another user."""
    user = struct.unpack("3i", other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))[1]
    if user != os.getuid():
        raise PermissionError(f"another user's process (user {user}) is at the other end")


def _watch(pid: int, asking: socket.socket) -> NoReturn:
    """Pass on to a job the signals that who asked for it passes on, and to that how it ended."""
    ended = os.pidfd_open(pid)
    watched: list[Any] = [asking, ended]
    while ended not in select.select(watched, [], [])[0]:
        if number := asking.recv(1):
            os.kill(pid, number[0])
        else:  # who asked was killed
            os.kill(pid, signal.SIGKILL)
            break
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        asking.send(status.to_bytes(4, "big"))
    os._exit(0)


def become(job: dict[str, Any]) -> NoReturn:
    """Run a job as the process would have that asked for it."""
    sys.argv, sys.orig_argv = job["argv"], job["command"]
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    if not sys.flags.safe_path:
        sys.path[0] = job["folder"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "suite"]:
        del sys.modules[name]  # read again: what was read when this process began may have been edited
    status: Any = 1
    try:
        runpy.run_module("suite.run", run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    if isinstance(status, str):
        print(status, file=sys.stderr)
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))  # Python would clear up all that torch has for 0.3 s


if __name__ == "__main__":
    processor.set_floor()
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()
    become(serve(sys.argv[1]))
