"""What an evaluation counted, as a file: confusion matrices image by image, and what they were counted of."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.files import written_whole

_FAULTS = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and zipfile raise on a damaged archive."""


@dataclass(frozen=True)
class Counted:
    """A run's `confusion.npz`, or `scored.npz`: the clips, a matrix each `[N, C, C]`, and their sums by path
    `[P, C, C]`.

    `model` and `manifest` are content hashes of what was scored and on what, `known_by` a digest of all that decides
    the counts.
    """

    clips: list[str]
    confusion: NDArray[np.int64]
    totals: NDArray[np.int64]
    model: str
    manifest: str
    known_by: str


def write_counted(file: Path, counted: Counted) -> None:
    """Write it whole."""
    with written_whole(file) as aside:
        np.savez_compressed(aside, **vars(counted))


def read_counted(file: Path) -> Counted:
    """Read it whole, the archive's own checksums included.

    Raises `UserError` for a damaged one, and `OSError` where it is not there or cannot be read.
    """
    content = file.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            clips = list(map(str, stored["clips"]))
            confusion, totals = (np.asarray(stored[name], np.int64) for name in ("confusion", "totals"))
            told = (str(stored[name]) for name in ("model", "manifest", "known_by"))
            counted = Counted(clips, confusion, totals, *told)
        if len(confusion) != len(clips):
            raise ValueError("it has not a matrix a clip")
        if (totals.sum(axis=0) != confusion.sum(axis=0)).any():
            raise ValueError("its sums contradict each other")
        return counted
    except _FAULTS as error:
        raise UserError(f"{file} cannot be read ({error}): delete it and run `snakemake` again.") from error
