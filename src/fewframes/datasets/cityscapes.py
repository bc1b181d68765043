"""The Cityscapes layout: gtFine, gtCoarse, key images and 30-frame sequences.

Names are `{city}_{seq}_{frame}_{type}`. The key frame's number is the one in the annotation's own name: in
seven cities the annotated frame is not 000019, and a sequence holds many clips. A clip is therefore known by
city, sequence *and* frame. Partial downloads are fine: a clip reaches as far as its frames do without a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fewframes.core.clips import Clip
from fewframes.core.labels import ClassTable

OPTIONS = ()
"""This layout leaves nothing open."""

_FINE_SPLITS = ("train", "val")
"""Test's gtFine is a dummy (its README): never read."""

_COARSE_SPLITS = ("train", "val", "train_extra")

_CORRUPT = frozenset({"troisdorf_000000_000073"})
"""A black train_extra image, known to be broken."""


def index(root: Path, classes: ClassTable, options: Mapping[str, Any]) -> Iterator[Clip]:
    """Yield every annotated frame that has an image; `options` are not used by this layout."""
    del options
    fine = _annotations(root, "gtFine", _FINE_SPLITS)
    coarse = _annotations(root, "gtCoarse", _COARSE_SPLITS)
    folders: dict[Path, frozenset[str]] = {}

    def listed(folder: Path) -> frozenset[str]:
        if folder not in folders:
            # Only a city's listing is kept: clips come city by city.
            folders.clear()
            folders[folder] = frozenset(p.name for p in folder.iterdir()) if folder.is_dir() else frozenset()
        return folders[folder]

    for split, city, stem in sorted(fine.keys() | coarse.keys()):
        if stem in _CORRUPT:
            continue
        sequence = f"leftImg8bit_sequence/{split}/{city}"
        still = f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"
        names = listed(root / sequence)
        prefix, number = stem.rsplit("_", 1)
        key = int(number)

        def there(offset: int, prefix: str = prefix, key: int = key, names: frozenset[str] = names) -> bool:
            return f"{prefix}_{key + offset:06d}_leftImg8bit.png" in names

        image = still if (root / still).is_file() else f"{sequence}/{stem}_leftImg8bit.png"
        if image != still and not there(0):
            continue
        first, last = (_reach(there, limit) for limit in classes.offsets)
        fine_label = fine.get((split, city, stem), "")
        coarse_label = coarse.get((split, city, stem), "")
        yield Clip(
            id=stem,
            split=split,
            group=f"{city}_{prefix.rsplit('_', 1)[1]}",
            image=image,
            frames=f"{sequence}/{prefix}_{{frame:06d}}_leftImg8bit.png" if (first or last) else "",
            key=key,
            first=first,
            last=last,
            fine=fine_label,
            fine_instances=_instances(root, fine_label),
            coarse=coarse_label,
            coarse_instances=_instances(root, coarse_label),
            truth=f"{split}/{city}/{prefix}_{{frame:06d}}_labelIds.png" if split != "train_extra" else "",
        )


def _annotations(root: Path, kind: str, splits: tuple[str, ...]) -> dict[tuple[str, str, str], str]:
    suffix = f"_{kind}_labelIds.png"
    return {
        (split, path.parent.name, path.name.removesuffix(suffix)): path.relative_to(root).as_posix()
        for split in splits
        for path in root.glob(f"{kind}/{split}/*/*{suffix}")
    }


def _instances(root: Path, label: str) -> str:
    path = label.replace("_labelIds.png", "_instanceIds.png")
    return path if label and (root / path).is_file() else ""


def _reach(there: Any, limit: int) -> int:
    step = 1 if limit > 0 else -1
    offset = 0
    while offset != limit and there(offset + step):
        offset += step
    return offset
