"""What of the dataset is there: what the reader leaves out, what is half unpacked, what has not been prepared."""

from __future__ import annotations

import contextlib
import io
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.datasets import reader_module
from fewframes.datasets.preparing import Ledger
from fewframes.datasets.source import LeftOut
from fewframes.doctor.case import Case
from fewframes.doctor.folders import UNPACK, compare_folders
from fewframes.doctor.leftout import GAP, SEQUENCES, mend_of
from fewframes.doctor.report import FAULT, WARNING, Group, plural

_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".aria2", ".filepart", ".tmp", ".!ut")
"""How the names of unfinished downloads end, by the usual programs."""

_FAULTY_ROW = re.compile(r"fault: (?P<row>.+?, line \d+): (?P<fault>.+)")
"""How a reader says on stderr what is wrong with a row that a user wrote."""


def examine_archives(case: Case) -> Group:
    """Have the reader list the clips, and look over the folder for what an unpacking left undone."""
    group = Group("Archives")
    _list_clips(case, group)
    _walk(case)
    _note_left_out(case, group)
    compare_folders(case, group)
    _check_downloads(case, group)
    _check_splits(case, group)
    fine = sum(bool(clip.fine) for clip in case.clips)
    group.summary = f"{plural(fine, 'finely annotated frame')}, {len(case.clips) - fine:,} coarsely alone"
    return group


def _list_clips(case: Case, group: Group) -> None:
    reader, prepared = case.study.dataset_settings()["reader"], case.source.prepared
    module = reader_module(reader, case.source)
    with _refusing(case, group, "what the preparation would refuse", reader):
        tasks = list(module.prepare(replace(case.source, left_out=LeftOut()))) if hasattr(module, "prepare") else []
        case.prepared_from = tuple(path for task in tasks for path in task.inputs)
        ledger = Ledger(prepared)
        # Whether an input changed since is for the preparation to tell: it reads them all.
        case.undone = [
            t for t in tasks if not ledger.fingerprint(t.name) or not all((prepared / o).exists() for o in t.outputs)
        ]
    for task in case.undone:
        mend = "Run `snakemake --cores all -- prepare`, then the doctor again: their clips are examined only then."
        group.add(WARNING, "not prepared yet", task.name, mend)
    with _refusing(case, group, "where the reader stops", reader):
        for clip in module.index(case.source):
            case.clips.append(clip)
    case.clips.sort(key=lambda clip: clip.id)


@contextlib.contextmanager
def _refusing(case: Case, group: Group, what: str, reader: str) -> Iterator[None]:
    """Turn what a reader refuses into findings: every row that it names on stderr, or else its error.

    A reader that stops after its preparation was refused, or for what is not prepared, has nothing to add.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except UserError as error:
        if case.refused or case.undone:
            return
        case.refused = True
        rows = [match for match in map(_FAULTY_ROW.fullmatch, said.getvalue().splitlines()) if match]
        for row in rows:
            mend = "Correct these rows; docs/how-to/own-video.md says what the columns mean."
            group.add(FAULT, "rows that cannot be used", row["row"], mend, row["fault"])
        if not rows:
            group.refused(what, reader, error)


def _note_left_out(case: Case, group: Group) -> None:
    # A frame missing between others is said by its own name, among the files.
    gapped = {clip.id for clip in case.gapped} | {clip.frames.rpartition("/")[0] for clip in case.gapped}
    for reason, name in case.source.left_out.rows:
        if not (reason.startswith(GAP) and gapped.intersection((name, name.rpartition("/")[2]))):
            group.add(WARNING, f"left out: {reason}", name, mend_of(reason, case.source.classes))


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
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        group.add(WARNING, "damaged archives", path, "Download them again, or delete them.", str(error))
        return
    for folder, names in sorted(packed.items()):
        missing = names.difference(tree.get(folder, ()))
        if missing and missing != names:
            detail = f"{plural(len(missing), 'file')} of {path} missing, such as {min(missing)}"
            group.add(FAULT, "unpacked in part", folder, UNPACK, detail)


def _check_splits(case: Case, group: Group) -> None:
    study = case.study
    if case.refused:
        return  # whatever is missing may be behind that
    if not case.clips and not case.undone and not group.findings:
        mend = "Check dataset.root and dataset.reader."
        group.add(FAULT, "no annotated frame in the reader's layout", str(case.source.folder), mend)
        return
    needed = {}
    if study.experiments:
        needed = {case.train_split: "experiments draw from", case.evaluated_split: "evaluation.split names"}
    needed |= {split: "quality.splits names" for split in study.measured_splits if study.measured}
    for split, why in needed.items():
        if case.finely(split) or case.undone:
            continue
        if (
            why.startswith("evaluation")
            and not case.named_split
            and {c.split for c in case.clips} == {case.train_split}
        ):
            mend = "To make labels alone, go on; to train and score, annotate clips of such a split (evaluation.split)."
            group.add(WARNING, "nothing that a trained network can be scored on", split, mend, "no such clip")
        else:
            mend = _key_at_fault(case) or "Unpack that split, or name another in the config."
            group.add(FAULT, "splits without a finely annotated frame", split, mend, f"which {why}")
    measured = [clip for clip in case.clips if clip.split in study.measured_splits]
    if study.measured and measured and not case.undone and not any(True for c in measured for _ in case.truths(c)):
        if any(clip.frames for clip in measured):
            mend = "Correct dataset.truth, or leave quality.methods empty."
            group.add(FAULT, "no dense truth for any frame to measure", study.truth, mend)
        else:
            mend = f"{SEQUENCES} Without them, leave quality.methods empty."
            group.add(FAULT, "no frame to measure beside any annotated one", str(case.source.folder), mend)


def _key_at_fault(case: Case) -> str:
    """The mend of the first reason for leaving something out that lies in the config; empty where none does."""
    mends = (mend_of(reason, case.source.classes) for reason, _ in case.source.left_out.rows)
    return next((mend for mend in mends if "dataset.options" in mend), "")
