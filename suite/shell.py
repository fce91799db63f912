"""How a command of ours is called by whoever pastes it where the workflow runs."""

from __future__ import annotations

import sys
from pathlib import Path


def called(program: str) -> str:
    """Return a program of this environment as it is called from here: with its path if it lies below, as .venv/bin/ does."""
    folder, here = Path(sys.executable).parent, Path.cwd()
    return str(folder.relative_to(here) / program) if folder.is_relative_to(here) else program
