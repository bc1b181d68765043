"""Folders held against each other: what an unpacking left out, put a level too deep, or made twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from fewframes.core.clips import PREPARED
from fewframes.doctor.case import Case
from fewframes.doctor.report import FAULT, WARNING, Group

UNPACK = "Unpack the archive again."
_ON_PURPOSE = f"{UNPACK} If a part is left out on purpose, go on: its clips are left out or cut."

_FAR_EMPTIER = 0.5
"""A folder with less than this share of the files an annotation that its fullest sibling has is half unpacked."""

_COPY = re.compile(r"(?P<stem>.+?)(?: \(\d+\)| \d+| - Copy(?: \(\d+\))?| copy(?: \d+)?)(?P<suffix>\.\w+)?")
"""How Windows, macOS and browsers name a second copy."""


def compare_folders(case: Case, group: Group) -> None:
    """Note splits and folders that are absent or far emptier than their siblings, and folders that are astray."""
    splits = {clip.split for clip in case.clips}
    images = {_kind(path, splits) for clip in case.clips for path in (clip.image, clip.frames)} - {""}
    annotations = {_kind(path, splits) for clip in case.clips for path in (clip.fine, clip.coarse)}
    annotations |= {_kind(path, splits) for path in case.prepared_from} - images
    annotations -= {""}
    for folder in _absent_splits(case, annotations | images):
        group.add(WARNING, "absent, though the folder has other splits", folder, _ON_PURPOSE)
    counts = {folder: _largest_family(names) for folder, names in case.tree.items()}
    for folder, held, expected in sorted(_emptier(annotations, annotations | images, counts)):
        detail = f"about {expected:,} files"
        if held:
            what, detail = "far fewer files than in the sibling folders", f"{held:,} of {detail}"
            group.add(FAULT, what, folder, UNPACK, detail)
        else:
            group.add(WARNING, "absent or empty beside full sibling folders", folder, _ON_PURPOSE, detail)
    _note_astray(case, group)


def _kind(path: str, splits: set[str]) -> str:
    """The first folder of a path that is `<kind>/<split>/<city>/...`; empty for any other, such as a prepared one."""
    parts = path.split("/")
    return parts[0] if len(parts) > 3 and parts[1] in splits and not path.startswith(PREPARED) else ""


def _absent_splits(case: Case, kinds: set[str]) -> list[str]:
    """The `<kind>/<split>` that hold nothing though other kinds have that split, and the kind has others.

    Only splits with fine annotation, or that the config asks for, are looked for: others lack a kind by design.
    """
    there = {tuple(folder.split("/")[:2]) for folder, names in case.tree.items() if names and folder.count("/") > 1}
    there = {place for place in there if place[0] in kinds}
    splits = {c.split for c in case.clips if c.fine} | {case.train_split, case.evaluated_split}
    splits &= {split for _, split in there}
    return sorted(f"{kind}/{split}" for kind in kinds for split in splits if (kind, split) not in there)


def _largest_family(names: Iterable[str]) -> int:
    """Files in the largest group whose names differ by digits alone: one kind of file, counted."""
    return max(Counter(re.sub(r"\d+", "#", name) for name in names).values(), default=0)


def _emptier(annotations: set[str], kinds: set[str], counts: Mapping[str, int]) -> Iterator[tuple[str, int, int]]:
    """Folders far emptier than their siblings of the same split: (folder, files held, files expected)."""
    parts = {(*folder.split("/"),): n for folder, n in counts.items() if folder.count("/") == 2}
    annotated: dict[tuple[str, str], int] = {}
    for (kind, split, city), n in parts.items():
        if n and kind in annotations:
            annotated[split, city] = max(n, annotated.get((split, city), 0))
    for kind in kinds:
        shares = {place: parts.get((kind, *place), 0) / n for place, n in annotated.items()}
        for split, city in annotated:
            fullest = max(share for place, share in shares.items() if place[0] == split)
            if shares[split, city] < _FAR_EMPTIER * fullest:
                folder = (kind, split, city)
                yield "/".join(folder), parts.get(folder, 0), round(fullest * annotated[split, city])


def _note_astray(case: Case, group: Group) -> None:
    """Note folders within a folder of their own name, and second copies; none that a clip is read from."""
    deep = []
    for folder in sorted(case.tree):
        parts = (case.source.folder.absolute().name, *PurePosixPath(folder).parts)
        if folder and parts[-1] == parts[-2]:
            deep.append(folder)
    copies = sorted(
        path
        for path in (
            *case.tree,
            *(f"{folder}/{name}".lstrip("/") for folder, names in case.tree.items() for name in names),
        )
        if _is_copy(path, case.tree)
    )
    if not deep and not copies:
        return
    used = {
        path for clip in case.clips for o in range(clip.first, clip.last + 1, clip.step) for path in [clip.image_at(o)]
    }
    used |= {path for clip in case.clips for kind in ("fine", "coarse") for path in clip.annotated(kind)}
    used |= set(case.prepared_from)
    used |= {str(parent) for path in used for parent in PurePosixPath(path).parents}
    for folder in deep:
        if folder not in used:
            mend = "Move what it holds up one level: a reader does not look there."
            group.add(WARNING, "folders within a folder of their own name", folder, mend)
    named = {name for _, name in case.source.left_out.rows}
    for path in copies:
        if path not in used | named:
            mend = "Delete the copy if it is one, or merge it into the original: a reader does not look there."
            group.add(WARNING, "second copies by their names", path, mend)


def _is_copy(path: str, tree: Mapping[str, list[str]]) -> bool:
    """Whether a file or folder is called a copy of another beside it."""
    folder, _, name = path.rpartition("/")
    match = _COPY.fullmatch(name)
    if not match:
        return False
    original = match["stem"] + (match["suffix"] or "")
    if path in tree:
        return (f"{folder}/{original}" if folder else original) in tree
    return original in tree.get(folder, ())
