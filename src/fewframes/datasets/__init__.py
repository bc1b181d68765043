"""Readers: each turns one dataset layout into clips. A new dataset is one new file here and one line below.

A reader is a module with `OPTIONS`, the keys of `dataset.options` it understands, and `index(source)`, which yields
clips and notes in `source.left_out` what it does not use. One whose files cannot be read as they are also has
`prepare(source)`, which yields the tasks of `fewframes.datasets.preparing`; `index` is called after they are done.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from fewframes.core.clips import Clip, Root
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.progress import progress, say
from fewframes.datasets.preparing import prepare
from fewframes.datasets.source import Source

READERS = ("cityscapes", "idd", "camvid", "vps", "video")
"""Layouts that have a reader."""

MEASURED_ONLY = ("vps",)
"""Readers of measurement sets: their clips are other datasets' validation clips and must never be trained on."""

WITH_SEQUENCES = ("cityscapes", "idd")
"""Readers of datasets that publish a sequence around every annotated frame: one without has lost it."""


def index(reader: str, source: Source) -> list[Clip]:
    """List the clips of a dataset, in the order of their ids; raises `UserError` for what would break later."""
    clips = sorted(reader_module(reader, source).index(source), key=lambda clip: clip.id)
    for line in source.left_out.lines():
        say(line)
    if not clips:
        raise UserError(
            f"{source.folder} holds no annotated frame in the layout '{reader}': check dataset.root and reader."
        )
    twice = next((a.id for a, b in itertools.pairwise(clips) if a.id == b.id), None)
    if twice:
        raise UserError(f"{source.folder} holds two annotated frames that are both called '{twice}': rename one.")
    # Coarse stills that no experiment can use are many (Cityscapes has 20,000): they are not opened.
    check_sizes(source.root, [clip for clip in clips if clip.fine])
    return clips


def prepare_dataset(reader: str, source: Source, hashes: ContentHashes, workers: int = 1) -> None:
    """Make what the dataset does not ship in a readable form; nothing where it ships all."""
    module = reader_module(reader, source)
    tasks = module.prepare(source) if hasattr(module, "prepare") else ()
    prepare(tasks, source.folder, source.prepared, hashes, workers)


def reader_module(reader: str, source: Source) -> ModuleType:
    """The reader of that name; raises `UserError` for an unknown one, an absent folder and an unknown option."""
    if reader not in READERS:
        raise UserError(f"dataset.reader '{reader}' is unknown: choose one of {', '.join(READERS)}.")
    if not source.folder.is_dir():
        raise UserError(f"The dataset folder {source.folder} does not exist: correct dataset.root in the config.")
    module = importlib.import_module(f"fewframes.datasets.{reader}")
    for key in source.options:
        if key not in module.OPTIONS:
            known = f"choose among {', '.join(module.OPTIONS)}" if module.OPTIONS else "it has none"
            raise UserError(f"dataset.options.{key} is no option of the reader '{reader}': {known}.")
    return module


def check_sizes(root: Path | Root, clips: Sequence[Clip]) -> None:
    """Raise `UserError` where a key frame's image and one of its labels differ in size (headers only)."""
    # Snakemake parses this module's names in every process, and has no need of an image library.
    from fewframes.core.images import image_size

    for clip in progress(clips, "sizes"):
        size = image_size(root / clip.image)
        for label in (clip.fine, clip.fine_instances, clip.coarse, clip.coarse_instances):
            if label and (found := image_size(root / label)) != size:
                raise UserError(
                    f"{root / label} is {found[1]}x{found[0]} but its image {clip.image} is {size[1]}x{size[0]}: "
                    "make the label at its image's size."
                )
