"""Toy city: a drawn street as a dataset, in exact Cityscapes or IDD layout, with the truth of every frame beside it."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json
from fewframes.core.parallel import mapped
from fewframes.core.progress import progress
from fewframes.datasets.toycity.layouts import SPLITS, TABLES, Clip, clip_names, write_clip

SIGNATURE = "toycity.json"
"""The settings, in the folder that they made: what bears it may be replaced."""

FORMAT = 1
"""Raised when the same settings give other files."""


@dataclass(frozen=True)
class ToyCitySettings:
    """What to draw: clips of `train` and `val`, single images of `train_extra`, their size in pixels.

    `layout` is `cityscapes` (30 frames a clip) or `idd` (31, and no `train_extra`: IDD has no coarse labels).
    `variety` is 0 (one street in one weather; small things differ) to 1 (every clip its own street).
    """

    train: int = 24
    val: int = 8
    train_extra: int = 24
    height: int = 128
    width: int = 256
    variety: float = 1.0
    seed: int = 0
    layout: str = "cityscapes"

    def check(self) -> None:
        """Raise `UserError` naming the first setting that cannot be."""
        if self.layout not in TABLES:
            raise UserError(f"toycity.layout is '{self.layout}': name one of {', '.join(TABLES)}.")
        for key, low in (("train", 0), ("val", 0), ("train_extra", 0), ("height", 48), ("width", 96), ("seed", 0)):
            if getattr(self, key) < low:
                raise UserError(f"toycity.{key} is {getattr(self, key)}: give {low} or more.")
        if not 0 <= self.variety <= 1:
            raise UserError(f"toycity.variety is {self.variety}: give a number from 0 to 1.")


def write_toycity(root: str | Path, settings: ToyCitySettings, workers: int = 1) -> None:
    """Write the dataset to `root` and the label ids of every frame to its sibling `<root>-truth`.

    Equal settings give equal bytes, whatever the number of `workers` (processes). Both folders appear only
    when they are whole. An earlier toy city at `root` is replaced. Raises `UserError` for settings that
    cannot be, for a `root` that holds anything else, and where nothing can be written.
    """
    settings.check()
    if workers < 1:
        raise UserError(f"toycity: {workers} workers cannot draw; give 1 or more.")
    root = Path(root).absolute()
    truth = root.with_name(root.name + "-truth")
    signed = canonical_json({"format": FORMAT, "settings": asdict(settings)}) + "\n"
    aside = {folder: folder.with_name(f"{folder.name}.partial") for folder in (truth, root)}
    try:
        # Snakemake deletes a declared output, root's signature, before it makes it anew: truth's vouches for both.
        signatures = [folder / SIGNATURE for folder in aside]
        _check_replaceable(root, signatures)
        _check_replaceable(truth, signatures[:1])
        for partial in aside.values():
            _remove(partial)
            partial.mkdir(parents=True)
        clips = list(_clips(settings))
        draw = functools.partial(write_clip, root=aside[root], truth=aside[truth])
        for _ in progress(mapped(draw, clips, workers), "toy city", len(clips)):
            pass
        for folder, partial in aside.items():
            (partial / SIGNATURE).write_text(signed, encoding="utf-8")
            old = folder.with_name(f"{folder.name}.old")
            _remove(old)
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
            _remove(old)
    except OSError as error:
        raise UserError(
            f"{error.filename or root} cannot be written ({error.strerror}): free space or mend permissions."
        ) from error


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _check_replaceable(folder: Path, signatures: list[Path]) -> None:
    """Raise `UserError` where the folder holds something, and no signature says that it is an earlier toy city."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder for toy city.")
    if folder.exists() and any(folder.iterdir()) and not any(path.is_file() for path in signatures):
        raise UserError(
            f"{folder} holds something else than toy city: name another folder, or, if that is your dataset, "
            "take the section 'toycity' out of the config."
        )


def _clips(settings: ToyCitySettings) -> Iterator[Clip]:
    s = settings
    for split in SPLITS:
        named = clip_names(s.layout, split, getattr(s, split), s.seed)
        for number, (folder, name, key) in enumerate(named):
            yield Clip(s.layout, split, number, folder, name, key, s.seed, s.variety, s.height, s.width)
