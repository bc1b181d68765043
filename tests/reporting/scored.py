"""Runs that were scored, as the tests make them up."""

from pathlib import Path

import numpy as np

from fewframes.learning.counted import Counted, write_counted


def write_confusion(run: Path, clips: list[str], confusion: np.ndarray) -> None:
    """Write a run's `confusion.npz`, as of a network with one path."""
    write_counted(run / "confusion.npz", Counted(list(clips), confusion, confusion.sum(axis=0)[None], "", "", ""))
