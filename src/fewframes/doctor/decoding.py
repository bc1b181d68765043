"""Files decoded to the last pixel: the ids of labels, and frames whose damage their ends do not show."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fewframes.core.errors import UserError
from fewframes.core.images import read_label
from fewframes.doctor.headers import FlawError, Header, whole

_CORRUPT = "Corrupt JPEG data: "
"""How libjpeg begins what it says on stderr, and only there, of damage that it drew over."""


def label_ids(path: Path, header: Header) -> tuple[int, ...]:
    """The native ids in a label, ascending; raises `FlawError` where it is damaged."""
    data = whole(path)
    label = None
    # OpenCV is the faster; it would turn a palette's indices into colours, and spread ids of few bits.
    if header.bits == 8 and not header.palette:
        label = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if label is None or label.ndim != 2:
        try:
            label = read_label(path)
        except UserError as error:
            raise FlawError("damaged", str(error).removeprefix(f"{path} ").partition(": ")[0]) from None
    counts = cv2.calcHist([label], [0], None, [256], [0, 256])
    return tuple(int(i) for i in np.flatnonzero(counts))


def decode_frame(path: Path) -> None:
    """Decode an image; raises `FlawError` where that shows damage."""
    data = np.frombuffer(whole(path), np.uint8)
    with _said() as said:
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise FlawError("damaged", "it cannot be decoded")
    if said and said[0].startswith(_CORRUPT):
        raise FlawError("damaged", said[0].removeprefix(_CORRUPT).strip())


@contextlib.contextmanager
def _said() -> Iterator[list[str]]:
    """The lines that C libraries write to stderr meanwhile."""
    lines: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        try:
            os.dup2(file.fileno(), 2)
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        lines += file.read().decode(errors="replace").splitlines()
