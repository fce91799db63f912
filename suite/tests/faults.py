"""`python -m suite.tests.faults FOLDER MODULE ARGS…`: run a command of ours again and again, each time with another write that fails.

In FOLDER, which is put back as it was before each try. A write is a block that goes to a file, a file that is synchronised, or one
that takes another's place. Prints as JSON how many there are and, for every try, what came out: its exit status, what it said on
stderr, what it left, and whether the command, run again with nothing failing, ends with what it ends with undisturbed.
"""

import argparse
import builtins
import errno
import hashlib
import io
import json
import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

WRITES = {"failing": 0, "done": 0, "with": errno.ENOSPC}
open_file, fsync, replace = io.open, os.fsync, os.replace


def write(path):
    """Count a write; fail if it is its turn. A disk that is full stays full."""
    WRITES["done"] += 1
    late = WRITES["done"] > WRITES["failing"] and WRITES["with"] == errno.ENOSPC
    if WRITES["failing"] and (WRITES["done"] == WRITES["failing"] or late):
        raise OSError(WRITES["with"], os.strerror(WRITES["with"]), path)


class File(io.FileIO):
    def write(self, block):
        write(None)
        return super().write(block)


def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
    if not set(mode) & set("wax+") or not str(file).startswith((str(Path.cwd()), "data/", "results/", ".")):
        return open_file(file, mode, buffering, encoding, errors, newline, closefd, opener)
    raw = File(file, mode.replace("b", "").replace("t", ""))
    if buffering == 0:
        return raw
    buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


def content(folder):
    """Every file that is there, but for locks, by name: its digest, which is of the numbers alone if it is a results file."""
    from suite import store

    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != ".lock":
            numbers = file.suffix == ".h5" and file.parts[-2] != "data"
            found[str(file.relative_to(folder))] = store.digest(file) if numbers else hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def attempt(folder, module, args, failing=0, error=errno.ENOSPC):
    """Run the command in a process of its own; return its status, what it said on stderr, and how many writes there were."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as counted:
        return _attempt(folder, module, args, failing, error, said, counted)


def _attempt(folder, module, args, failing, error, said, counted):
    if not (pid := os.fork()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(said.fileno(), 2)
        os.chdir(folder)
        WRITES.update(failing=failing, **{"with": error})
        io.open = builtins.open = opened
        os.fsync = lambda descriptor: (write(None), fsync(descriptor))
        os.replace = lambda old, new: (write(None), replace(old, new))
        sys.argv[1:] = args
        status = 0
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            status = end.code
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 1
        if isinstance(status, str):
            print(status, file=sys.stderr, flush=True)
            status = 1
        counted.write(str(WRITES["done"]))
        counted.flush()
        os._exit(status or 0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for file in (said, counted):
        file.seek(0)
    return status, said.read(), int(counted.read() or 0)


def main(folder, module, *args, first=0):
    before = Path(tempfile.mkdtemp()) / "before"
    shutil.copytree(folder, before)

    def restored():
        shutil.rmtree(folder)
        shutil.copytree(before, folder)

    status, said, num = attempt(folder, module, args)
    assert status == 0, said
    there, undisturbed = content(before), content(folder)
    chosen = sorted({1 + (num - 1) * i // max(1, first - 1) for i in range(first)}) if first else range(1, num + 1)
    tries = []
    for failing in chosen:
        restored()
        error = errno.EIO if failing % 2 else errno.ENOSPC
        status, said, _ = attempt(folder, module, args, failing, error)
        left = content(folder)
        again, said_again, _ = attempt(folder, module, args)
        tries.append(
            {
                **{"write": failing, "error": os.strerror(error), "status": status, "said": said},
                "lost": [name for name in there if name not in left or left[name] not in (there[name], undisturbed.get(name))],
                "partial": [name for name in left if name.endswith((".partial", ".part"))],
                "again": said_again if again else content(folder) == undisturbed,
            }
        )
    shutil.rmtree(before.parent)
    print(json.dumps({"writes": num, "tries": tries}))


if __name__ == "__main__":
    import torch  # noqa: F401 # once for all tries
    import torchattacks  # noqa: F401

    parser = argparse.ArgumentParser(prog="python -m suite.tests.faults", description="Let each write of a command fail in turn.")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="so many tries, spread over all writes (default: every write)")
    parser.add_argument("folder", type=Path, help="where it runs; put back as it was before each try")
    parser.add_argument("module", help="such as suite.run")
    parser.add_argument("args", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    main(given.folder.resolve(), given.module, *given.args, first=given.first)
