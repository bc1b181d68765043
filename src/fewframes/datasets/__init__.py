"""Readers: each turns one dataset layout into clips. A new dataset is one new file here and one line below."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.core.images import image_size
from fewframes.core.labels import ClassTable
from fewframes.core.progress import progress

READERS = ("cityscapes", "camvid")
"""Layouts that have a reader; each is a module of this wing with `OPTIONS` and a function `index`."""


def index(reader: str, root: str | Path, classes: ClassTable, options: Mapping[str, Any]) -> list[Clip]:
    """List the clips below `root`, in the order of their ids; raises `UserError` for what would break later."""
    if reader not in READERS:
        raise UserError(f"dataset.reader '{reader}' is unknown: choose one of {', '.join(READERS)}.")
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"The dataset folder {folder} does not exist: correct dataset.root in the config.")
    module = importlib.import_module(f"fewframes.datasets.{reader}")
    for key in options:
        if key not in module.OPTIONS:
            known = f"choose among {', '.join(module.OPTIONS)}" if module.OPTIONS else "it has none"
            raise UserError(f"dataset.options.{key} is no option of the reader '{reader}': {known}.")
    clips = sorted(module.index(folder, classes, options), key=lambda clip: clip.id)
    if not clips:
        raise UserError(f"{folder} holds no annotated frame in the layout '{reader}': check dataset.root and reader.")
    twice = next((a.id for a, b in itertools.pairwise(clips) if a.id == b.id), None)
    if twice:
        raise UserError(f"{folder} holds two annotated frames that are both called '{twice}': rename one.")
    # Coarse stills that no experiment can use are many (Cityscapes has 20,000): they are not opened.
    check_sizes(folder, [clip for clip in clips if clip.fine])
    return clips


def check_sizes(root: Path, clips: Sequence[Clip]) -> None:
    """Raise `UserError` where a key frame's image and one of its labels differ in size (headers only)."""
    for clip in progress(clips, "sizes"):
        size = image_size(root / clip.image)
        for label in (clip.fine, clip.fine_instances, clip.coarse, clip.coarse_instances):
            if label and (found := image_size(root / label)) != size:
                raise UserError(
                    f"{root / label} is {found[1]}x{found[0]} but its image {clip.image} is {size[1]}x{size[0]}: "
                    "make the label at its image's size."
                )
