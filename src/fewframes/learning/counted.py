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

_FAULTS = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and zipfile raise on a damaged archive."""


@dataclass(frozen=True)
class Counted:
    """A run's `confusion.npz`, or `scored.npz`: the clips, a matrix each `[N, C, C + 1]`, and the matrices by path
    `[P, C, C + 1]` (None where an older one lacks them).

    `model` and `manifest` are content hashes of what was scored and on what, `known_by` a digest of all that decides
    the counts; each is empty where an older one lacks it.
    """

    clips: list[str]
    confusion: NDArray[np.int64]
    totals: NDArray[np.int64] | None
    model: str
    manifest: str
    known_by: str


def read_counted(file: Path) -> Counted:
    """Read it whole, the archive's own checksums included.

    Raises `UserError` for a damaged one, and `OSError` where it is not there or cannot be read.
    """
    content = file.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        confusion, clips = arrays["confusion"], list(map(str, arrays["clips"]))
        totals = arrays.get("totals")
        if len(confusion) != len(clips):
            raise ValueError("it has not a matrix a clip")
        if totals is not None and (totals.sum(axis=0) != confusion.sum(axis=0)).any():
            raise ValueError("its sums contradict each other")
        told = (str(arrays.get(name, "")) for name in ("model", "manifest", "known_by"))
        return Counted(
            clips, np.asarray(confusion, np.int64), None if totals is None else np.asarray(totals, np.int64), *told
        )
    except _FAULTS as error:
        raise UserError(f"{file} cannot be read ({error}): delete it and run `snakemake` again.") from error
