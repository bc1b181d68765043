"""Whether anybody is at work on a dataset's results: nothing may be moved or removed under their hands."""

from __future__ import annotations

from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.learning.lease import trained_into

_LOCKS = Path(".snakemake") / "locks"
"""Where Snakemake, run in the working directory, lists the files that it works on, a line a file."""


def refuse_while_running(results: Path) -> None:
    """Raise `UserError` where Snakemake holds a lock on a file of the results, or a living process trains into them.

    A lock is looked for below the working directory: call it where Snakemake is called.
    """
    if locked := _locked(results):
        raise UserError(
            f"Snakemake is at work on {locked}: wait until it ends; if none runs, it was killed, and `snakemake "
            "--unlock` takes its lock away."
        )
    if trained := trained_into((results / "runs").glob("*/*/*/checkpoints")):
        raise UserError(f"{trained[0].parent} is being trained: wait until it ends, or stop it first.")


def _locked(results: Path) -> str:
    """A file of the results that a lock names; empty where there is none."""
    whole = results.resolve()
    for lock in sorted(_LOCKS.glob("*.lock")):
        try:
            names = lock.read_text(encoding="utf-8").splitlines()
        except OSError:  # just given back
            continue
        for name in names:
            if name and Path(name).resolve().is_relative_to(whole):
                return name
    return ""
