"""Whoever forgets `advance` is told: where no update is counted, brSF is frSF, and KP does not learn its feedback; nothing else would show.

A tensor counts its own changes (`_version`), on the host, whatever optimiser makes them. A layer whose feedback changes with every update
looks at that number when its feedback is asked for in training. An update that was counted since starts anew, so that neither accumulated
gradients nor a step that moves weights there and back (SAM) say anything; nor do evaluation and attacks, which are not training.
"""

from __future__ import annotations

import warnings

MOVES = 10  # so often weights have moved, and no update was counted, when it is said


class Watch:
    """What the layers of one model have seen, by name: their update, their weight's version, and how often that moved since."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int, int, int]] = {}
        self.told = False

    def look(self, name: str, update: int, version: int) -> None:
        """Note what a layer sees in a training pass, and warn, once, of weights that have moved for long without an update."""
        if self.told:
            return
        before, at, moves = self.seen.get(name, (update, version, 0))
        moves = moves + (version != at) if update == before else 0
        self.seen[name] = update, version, moves
        if moves == MOVES:
            self.told = True
            warnings.warn(
                f"advance: weights moved {MOVES} times and no update was counted, so that feedback stays that should change with each; "
                "call bionas.advance(model, optimiser) after every optimiser step",
                stacklevel=2,
            )
