"""Results: how a run is written, read, locked and compared. Imports no torch."""

from suite.store.comparing import digest, digest_of, digest_of_run, digested, joined
from suite.store.layout import FORMAT, Run, copy, finished, groups, made_by, opened, read, read_group, runs, write, write_group
from suite.store.locking import holder, locked
from suite.store.origin import provenance, usage
from suite.store.rates import Rates, rates

__all__ = [
    "FORMAT",
    "Rates",
    "Run",
    "copy",
    "digest",
    "digest_of",
    "digest_of_run",
    "digested",
    "finished",
    "groups",
    "holder",
    "joined",
    "locked",
    "made_by",
    "opened",
    "provenance",
    "rates",
    "read",
    "read_group",
    "runs",
    "usage",
    "write",
    "write_group",
]
