"""Python begins with this where its folder is on PYTHONPATH: a process tells a soak which job or write it is at, and waits for a word.

So nothing of it is in the code that is tested. Jobs also save a checkpoint at each of their steps: tiny ones have no 30 seconds.
"""

import argparse
import json
import os
import socket
import sys
from pathlib import Path

ADDRESS = "BIONAS_SOAK"  # where the soak listens


def tell(moment: str, what: str) -> str:
    """Say where this process is, and return what it is to do; where nobody listens any more it goes on."""
    with socket.socket(socket.AF_UNIX) as soak:
        try:
            soak.connect(os.environ[ADDRESS])
            soak.sendall(json.dumps([moment, what, os.getpid()]).encode())
            return soak.recv(16).decode()
        except OSError:
            return ""


def replace(source, target, replace=os.replace, **options):
    """Tell of a file that takes its place, as bionas.files has it."""
    if not str(source).endswith(".partial"):
        return replace(source, target, **options)
    if tell("before", str(Path.cwd() / target)) == "half":  # as it is when a writer is killed in the middle
        with Path(source).open("r+b") as file:
            whole = file.read()
            file.truncate(len(whole) // 2)
            tell("half", str(Path.cwd() / target))
            file.seek(0)
            file.write(whole)
    replace(source, target, **options)
    return tell("after", str(Path.cwd() / target))


def add_argument(self, *names, add_argument=argparse.ArgumentParser.add_argument, **options):
    if "--checkpoint-seconds" in names:
        options["default"] = 0
    return add_argument(self, *names, **options)


if ADDRESS in os.environ:
    os.replace = replace
    if sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].partition(".")[0] in ("suite", "reports", "data_prep"):
        argparse.ArgumentParser.add_argument = add_argument
        tell("start", " ".join(sys.orig_argv[2:]))
