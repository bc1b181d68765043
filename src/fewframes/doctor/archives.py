"""What of the dataset is there: what the reader leaves out, what is half unpacked, what has not been prepared."""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fewframes.core.clips import PREPARED
from fewframes.core.errors import UserError
from fewframes.datasets import reader_module
from fewframes.datasets.preparing import Ledger
from fewframes.datasets.source import LeftOut
from fewframes.doctor.case import Case
from fewframes.doctor.report import FAULT, WARNING, Group, plural

_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".aria2", ".filepart", ".tmp", ".!ut")
"""How the names of unfinished downloads end, by the usual programs."""

_FAR_EMPTIER = 0.5
"""A folder with less than this share of the files an annotation that its fullest sibling has is half unpacked."""

_UNPACK = "Unpack the archive again."
_ON_PURPOSE = f"{_UNPACK} If a part is left out on purpose, go on: its clips are left out or cut."


def examine_archives(case: Case) -> Group:
    """Have the reader list the clips, and look over the folder for what an unpacking left undone."""
    group = Group("Archives")
    _list_clips(case, group)
    _walk(case)
    for reason, name in case.source.left_out.rows:
        mend = "They are not used; where they should be, restore what they lack."
        group.add(WARNING, f"left out: {reason}", name, mend)
    _compare_siblings(case, group)
    _check_downloads(case, group)
    _check_splits(case, group)
    fine = sum(bool(clip.fine) for clip in case.clips)
    group.summary = f"{fine:,} finely annotated frames, {len(case.clips) - fine:,} coarsely alone"
    return group


def _list_clips(case: Case, group: Group) -> None:
    module = reader_module(case.study.dataset_settings()["reader"], case.source)
    try:
        tasks = list(module.prepare(replace(case.source, left_out=LeftOut()))) if hasattr(module, "prepare") else []
        case.prepared_from = {_kind(path) for task in tasks for path in task.inputs}
        prepared, ledger = case.source.prepared, Ledger(case.source.prepared)
        # Whether an input changed since is for the preparation to tell: it reads them all.
        case.undone = [
            t for t in tasks if not ledger.fingerprint(t.name) or not all((prepared / o).exists() for o in t.outputs)
        ]
    except UserError as error:
        group.refused("what the preparation would refuse", case.study.dataset_settings()["reader"], error)
    for task in case.undone:
        mend = "Run `snakemake --cores all -- prepare`, then the doctor again: their clips are examined only then."
        group.add(WARNING, "not prepared yet", task.name, mend)
    try:
        for clip in module.index(case.source):
            case.clips.append(clip)
    except UserError as error:
        if not case.undone:
            group.refused("where the reader stops", case.study.dataset_settings()["reader"], error)
    case.clips.sort(key=lambda clip: clip.id)


def _walk(case: Case) -> None:
    """List every folder of the dataset, following links but not in circles."""
    root = os.fspath(case.source.folder)
    pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", (_known(root),))]
    while pending:
        folder, above = pending.pop()
        try:
            entries = list(os.scandir(f"{root}/{folder}"))
        except OSError:
            continue  # the reader has said so, if it matters
        names = case.tree.setdefault(folder, [])
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink() and not Path(entry.path).exists():
                case.dead_links[path] = str(Path(entry.path).readlink())
            elif not entry.is_dir():
                names.append(entry.name)
            elif not entry.is_symlink():
                pending.append((path, (*above, _known(entry.path))))
            elif _known(entry.path) in above:
                case.loops.append(path)
            else:
                pending.append((path, (*above, _known(entry.path))))


def _known(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _compare_siblings(case: Case, group: Group) -> None:
    """Note folders (`<kind>/<split>/<city>`) that hold far less of one kind of file than their siblings do."""
    annotations = {_kind(path) for clip in case.clips for path in (clip.fine, clip.coarse)} | case.prepared_from
    stills = {_kind(clip.image) for clip in case.clips} - {""}
    frames = {_kind(clip.frames) for clip in case.clips} - {""}
    counts = {folder: _largest_family(names) for folder, names in case.tree.items()}
    for folder, held, expected in sorted(_emptier(annotations - {""}, stills | frames, counts)):
        if held:
            detail = f"{held:,} of about {expected:,} files"
            group.add(FAULT, "far fewer files than in the sibling folders", folder, _UNPACK, detail)
        else:
            group.add(
                WARNING, "absent or empty beside full sibling folders", folder, _ON_PURPOSE, f"about {expected:,} files"
            )
    for folder in _unannotated(annotations - {""}, stills - frames, case.tree):
        group.add(WARNING, "images beside which no annotation is", folder, _ON_PURPOSE)


def _kind(path: str) -> str:
    """The first folder of a path; empty for a prepared file and for a layout without splits and cities."""
    return path.split("/")[0] if path.count("/") >= 3 and not path.startswith(PREPARED) else ""


def _largest_family(names: Iterable[str]) -> int:
    """Files in the largest group whose names differ by digits alone: one kind of file, counted."""
    return max(Counter(re.sub(r"\d+", "#", name) for name in names).values(), default=0)


def _emptier(annotations: set[str], images: set[str], counts: Mapping[str, int]) -> Iterator[tuple[str, int, int]]:
    """Folders far emptier than their siblings of the same split: (folder, files held, files expected)."""
    parts = {(*folder.split("/"),): n for folder, n in counts.items() if folder.count("/") == 2}
    annotated: dict[tuple[str, str], int] = {}
    for (kind, split, city), n in parts.items():
        if n and kind in annotations:
            annotated[split, city] = max(n, annotated.get((split, city), 0))
    for kind in images:
        shares = {place: parts.get((kind, *place), 0) / n for place, n in annotated.items()}
        for split, city in annotated:
            fullest = max(share for place, share in shares.items() if place[0] == split)
            if shares[split, city] < _FAR_EMPTIER * fullest:
                folder = (kind, split, city)
                yield "/".join(folder), parts.get(folder, 0), round(fullest * annotated[split, city])


def _unannotated(annotations: set[str], stills: set[str], folders: Iterable[str]) -> list[str]:
    """Folders of key images, of a split that is annotated, beside which no folder of annotations stands."""
    parts = [tuple(folder.split("/")) for folder in folders if folder.count("/") == 2]
    places = {(split, city) for kind, split, city in parts if kind in annotations}
    splits = {split for split, _ in places}
    return [f"{k}/{s}/{c}" for k, s, c in sorted(parts) if k in stills and s in splits and (s, c) not in places]


def _check_downloads(case: Case, group: Group) -> None:
    for folder, names in sorted(case.tree.items()):
        for name in sorted(names):
            path = f"{folder}/{name}".lstrip("/")
            if name.lower().endswith(_UNFINISHED):
                mend = "Let the download finish and unpack it; delete what is left over."
                group.add(WARNING, "unfinished downloads", path, mend)
            elif name.lower().endswith(".zip"):
                _check_zip(case.source.folder / path, path, case.tree, group)


def _check_zip(file: Path, path: str, tree: Mapping[str, list[str]], group: Group) -> None:
    """Note an archive kept beside the files that is damaged, or of which a folder is unpacked in part."""
    packed: dict[str, set[str]] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                folder, _, name = f"{path}/../{member}".rpartition("/")
                if name:
                    packed.setdefault(os.path.normpath(folder), set()).add(name)
    except (OSError, zipfile.BadZipFile) as error:
        group.add(WARNING, "damaged archives", path, "Download them again, or delete them.", str(error))
        return
    for folder, names in sorted(packed.items()):
        missing = names.difference(tree.get(folder, ()))
        if missing and missing != names:
            detail = f"{plural(len(missing), 'file')} of {path} missing, such as {min(missing)}"
            group.add(FAULT, "unpacked in part", folder, _UNPACK, detail)


def _check_splits(case: Case, group: Group) -> None:
    study = case.study
    if not case.clips and not case.undone and not group.findings:
        mend = "Check dataset.root and dataset.reader."
        group.add(FAULT, "no annotated frame in the reader's layout", str(case.source.folder), mend)
        return
    needed = {}
    if study.experiments:
        needed = {case.train_split: "experiments draw from", case.evaluated_split: "evaluation.split names"}
    needed |= {split: "quality.splits names" for split in study.measured_splits if study.measured}
    for split, why in needed.items():
        if not case.finely(split) and not case.undone:
            mend = "Unpack that split, or name another in the config."
            group.add(FAULT, "splits without a finely annotated frame", split, mend, f"which {why}")
    measured = [clip for clip in case.clips if clip.split in study.measured_splits]
    if study.measured and measured and not case.undone and not any(True for c in measured for _ in case.truths(c)):
        mend = "Correct dataset.truth, or leave quality.methods empty."
        group.add(FAULT, "no dense truth for any frame to measure", study.truth, mend)
