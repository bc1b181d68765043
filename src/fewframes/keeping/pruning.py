"""Pruning: what lies in a dataset's results and nothing uses any more."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewframes.core.clips import LABEL_COLUMNS, read_clips
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.doctor.disk import readable
from fewframes.experiments.methods import STAGES
from fewframes.keeping.inspection import Inspection, begin
from fewframes.keeping.labelfiles import Declared
from fewframes.keeping.mending import PUT_ASIDE
from fewframes.keeping.running import refuse_while_running
from fewframes.keeping.trained import fingerprint_now, record
from fewframes.learning.lease import trained_into

_HALF_WRITTEN = re.compile(r"\..+\.[a-z0-9_]{8}(\.[a-z0-9]+)?|\.lease\.[0-9a-f]{16}|.+\.part(\.version)?")
"""What `written_whole`, `folder_written_whole`, a lease and a download leave behind when they are killed."""
_SETTLED_S = 3600
"""Seconds without a change after which nobody is writing to a file any more."""
_SHARDS = "[0-9][0-9][0-9][0-9].csv"
"""What CSVs of shards are called."""
_NAMED = 3
"""Examples of a kind in the summary."""


@dataclass(frozen=True)
class Unused:
    """A file or folder that nothing uses: of which kind, where, and how many bytes it takes."""

    kind: str
    path: Path
    size: int


def prune(
    config: Path, repository: Path, *, runs: bool, methods: bool, dry: bool, anyway: bool
) -> tuple[list[Unused], Path]:
    """Remove what nothing uses in the results of the config at `config`; returns that, and the folder of results.

    With `runs`, also runs and manifests that the config no longer asks for, and labels that such runs filled; with
    `methods`, also labels of methods that it no longer names; but none that a manifest uses. With `dry` nothing is
    removed. Raises `UserError` as `verifying.verify` does, where a file that says what is used cannot be read, and
    while somebody is at work on the results, unless `anyway`.
    """
    it = begin(config, repository, workers=1)
    if not anyway and not dry:
        refuse_while_running(it.results)
    found = _unused(it, runs, methods)
    if not dry:
        _remove(found, it.results)
    return found, it.results


def summary(found: Sequence[Unused], results: Path, dry: bool) -> str:
    """What was found, for a terminal: kind by kind with counts, bytes and examples, and the sum."""
    lines = []
    for kind, several in itertools.groupby(found, key=lambda each: each.kind):
        members = list(several)
        lines.append(f"{kind} ({len(members):,}, {readable(sum(each.size for each in members))})")
        lines += [f"    {each.path}  {readable(each.size)}" for each in members[:_NAMED]]
        lines += [f"    and {len(members) - _NAMED:,} more"] if len(members) > _NAMED else []
    total = readable(sum(each.size for each in found))
    if not found:
        return f"Everything in {results} is in use."
    return "\n".join([*lines, "", f"{total} would be freed: nothing was removed." if dry else f"{total} freed."])


def _unused(it: Inspection, runs: bool, methods: bool) -> list[Unused]:
    """What nothing uses, kind by kind; of what lies in another such folder only the folder."""
    found = [*_left_runs(it), *_left_manifests(it)] if runs else []
    gone = {each.path for each in found}
    found += _superseded_csvs(it)
    found += _unused_labels(it, gone, runs, methods)
    found += _checkpoints(it)
    found += _half_written(it)
    found += [_sized("put aside by verify", it.results / PUT_ASIDE)] if (it.results / PUT_ASIDE).is_dir() else []
    whole = it.results.resolve()
    # A folder may be a link to another disk: what lies there is not ours.
    inside = [each for each in found if each.path.parent.resolve().is_relative_to(whole)]
    paths = {each.path for each in inside}
    apart = [each for each in inside if not any(folder in paths for folder in each.path.parents)]
    return sorted(apart, key=lambda each: (each.kind, each.path))


def _remove(found: Iterable[Unused], results: Path) -> None:
    """Remove files and folders of the results, and folders that are empty then; raises `UserError` where it cannot."""
    for each in found:
        try:
            if each.path.is_dir() and not each.path.is_symlink():
                shutil.rmtree(each.path)
            else:
                each.path.unlink(missing_ok=True)
            for folder in each.path.parents:
                if folder == results or any(folder.iterdir()):
                    break
                folder.rmdir()
        except OSError as error:
            raise UserError(f"{each.path} cannot be removed ({error.strerror}): mend its permissions.") from error


def _left_runs(it: Inspection) -> Iterator[Unused]:
    """Runs that the config does not ask for, and that none of its runs waits for."""
    asked = {it.results / "runs" / run for run in it.study.runs}
    needed = {
        Path(file).parent.resolve()
        for run in it.study.runs
        for file in it.study.trainings.waits_for(*run.split("/", 1))
    }
    for folder in sorted((it.results / "runs").glob("*/*/draw*-seed*")):
        if folder not in asked and folder.resolve() not in needed:
            yield _sized("runs that the config does not ask for", folder)


def _left_manifests(it: Inspection) -> Iterator[Unused]:
    asked = {it.results / "manifests" / f"{m}.csv" for family in it.study.families for m in it.study.manifests(family)}
    for file in sorted((it.results / "manifests").glob("*/draw*.csv")):
        if file not in asked:
            yield _sized("manifests that the config does not ask for", file)


def _superseded_csvs(it: Inspection) -> Iterator[Unused]:
    """Shards beyond those that the plan deals: after it went from 8 to 4, say."""
    for kind, methods in it.study.labelled.items():
        if not _is_planned(it, kind):
            continue  # they may still be in use: they are what was planned
        for folder in (it.results / kind / method for method in methods):
            for file in sorted(folder.glob(_SHARDS)):
                if file.stem not in it.study.shards:
                    yield _sized("CSVs of superseded shards", file)


def _is_planned(it: Inspection, kind: str) -> bool:
    """Whether the plan deals to as many shards as the config has now: the plan removes what is beyond them."""
    return {file.stem for file in _shards(it, kind).glob(_SHARDS)} == set(it.study.shards)


def _shards(it: Inspection, kind: str) -> Path:
    """Where the plan deals clips to a stage."""
    return it.results / "shards" / STAGES[kind].rule


def _unused_labels(it: Inspection, gone: Collection[Path], runs: bool, methods: bool) -> Iterator[Unused]:
    """Label files that no CSV of labels and no manifest names, but for clips whose labels are not finished."""
    manifests = [file for file in (it.results / "manifests").rglob("[!.]*.csv") if file not in gone]
    used = {it.results / row["label"] for file in manifests for row in read_csv(file, ("label",))}
    filled = [file.split("/")[0] for file in it.study.manifests("filled")]
    for folder in sorted((it.results).glob("*/*/labels")):
        kind, name = folder.parts[-3:-1]
        if kind not in (*STAGES, "filled"):
            continue
        wanted = name in (filled if kind == "filled" else it.study.labelled[kind])
        if not wanted and not (runs if kind == "filled" else methods):
            continue
        what = "label files that nothing uses" if wanted else f"labels of {name}, which the config does not ask for"
        csvs = _csvs(it, kind, name) if wanted else []
        listings = [file for file in (*csvs, folder.parent / "labels.csv") if wanted and file.is_file()]
        kept = used | {it.results / row["file"] for file in listings for row in read_csv(file, LABEL_COLUMNS)}
        unfinished = _unfinished(it, kind, csvs) if wanted else set()
        for file in sorted(folder.rglob("[!.]*.h5")):
            # A label file is called by its clip and a fingerprint.
            if file not in kept and file.stem.rpartition("-")[0] not in unfinished:
                yield _sized(what, file)
        if not wanted:
            yield from (_sized(what, file) for file in sorted(folder.parent.glob("[!.]*.csv")))


def _csvs(it: Inspection, kind: str, name: str) -> list[Path]:
    """The CSVs of labels that the config asks for, of a method or a filled experiment."""
    if kind == "filled":
        return [it.results / "filled" / f"{m}.csv" for m in it.study.manifests("filled") if m.split("/")[0] == name]
    return [it.results / kind / name / f"{shard}.csv" for shard in it.study.shards]


def _unfinished(it: Inspection, kind: str, csvs: Iterable[Path]) -> set[str]:
    """The clips of shards whose CSV is not there, or not of the plan: the next run finds what was made.

    All clips where the plan is of another number of shards: each CSV is of the old plan then.
    """
    clips: set[str] = set()
    if kind in STAGES and not _is_planned(it, kind):
        return {clip.id for clip in read_clips(it.results / "index.csv")}
    for file in csvs:
        if kind not in STAGES:
            if not file.is_file():  # nobody knows whose they are
                clips |= {clip.id for clip in read_clips(it.results / "index.csv")}
            continue
        declared = Declared(file, "", _shards(it, kind) / file.name)
        wanted = {(id_, o) for id_, (_, offsets) in (declared.wanted or {}).items() for o in offsets}
        listed = {(row["clip"], int(row["offset"])) for row in declared.rows} if file.is_file() else None
        if listed != wanted:
            clips |= {id_ for id_, _ in wanted}
    return clips


def _checkpoints(it: Inspection) -> Iterator[Unused]:
    """What is left in the folders of checkpoints of trainings that are finished, as the config asks for them."""
    left = [run for run in (it.results / "runs" / name for name in it.study.runs) if (run / "checkpoints").is_dir()]
    finished = [run / "checkpoints" for run in left if _is_finished(it, run)]
    trained = trained_into(finished)
    yield from (_sized("checkpoints of finished trainings", folder) for folder in finished if folder not in trained)


def _is_finished(it: Inspection, run: Path) -> bool:
    """Whether the training is done that the config asks for: then no checkpoint can be of use to it."""
    facts = record(run)
    if facts is None or not (run / "model.safetensors").is_file():
        return False
    try:
        return bool(facts["fingerprint"] == fingerprint_now(it, run))
    except UserError:  # its manifest, weights or teacher are not at hand
        return False


def _half_written(it: Inspection) -> Iterator[Unused]:
    for path in sorted(_below(it.results)):
        if _HALF_WRITTEN.fullmatch(path.name) and not path.is_symlink() and _settled(path):
            yield _sized("files that were never finished", path)


def _settled(path: Path) -> bool:
    """Whether nothing in it has changed for long enough; what is just gone, somebody is at work on."""
    try:
        newest = max(file.lstat().st_mtime for file in (path, *_below(path)))
    except FileNotFoundError:
        return False
    return time.time() - newest > _SETTLED_S


def _sized(kind: str, path: Path) -> Unused:
    return Unused(kind, path, sum(map(_size, [path] if path.is_file() else _below(path))))


def _size(file: Path) -> int:
    """The bytes of a file; none of a folder, and of what is just gone."""
    with contextlib.suppress(FileNotFoundError):
        return file.lstat().st_size if file.is_file() else 0
    return 0


def _below(folder: Path) -> Iterator[Path]:
    """All files and folders in it; beside a running head they come and go, which `Path.rglob` does not bear."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *files))
