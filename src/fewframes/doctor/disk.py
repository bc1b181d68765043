"""Disk: what the study will write against what is free."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fewframes.core.clips import LABEL_COLUMNS
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.core.images import image_size
from fewframes.core.labelfile import read_fingerprints
from fewframes.doctor.case import Case
from fewframes.doctor.report import FAULT, WARNING, Group, plural
from fewframes.doctor.weights import Size
from fewframes.experiments.dealing import Stock, stills_of
from fewframes.experiments.manifests import labels_for_all, measured_labels, needed_labels
from fewframes.experiments.plan import asked_of_stages

_WITH_OBJECTS = ("sam_points", "sam_points_guarded", "sam_box", "automask")
_BYTES_A_PIXEL = {"flow": 0.45, "sam2": 0.3, **dict.fromkeys(_WITH_OBJECTS, 0.12)}
"""Bytes a pixel that a label of the method takes, with all that lies beside it: `flow` 0.30 at 2048x1024 and 0.42 on
CamVid, `sam2` 0.26 at 2048x1024."""
_BYTES_OTHERWISE = 0.08
"""Bytes a pixel of a label alone: 0.03 at 2048x1024, 0.06 on CamVid."""
_BYTES_OF_FRAMES = 1.5
"""Bytes a pixel of a frame as PNG: Cityscapes' have 1.1, quickly packed ones a third more."""
_UNKNOWN_PIXELS = 2048 * 1024
"""Pixels a frame where none can be read yet: Cityscapes'; IDD's have a hundredth fewer."""
_MEASURED = 50
"""Label files that are opened to see what a label really takes."""
_AT_ONCE = 8
"""Trainings that run at once, for the space of their checkpoints; each may stand there twice while it is replaced."""
_AMPLE = 2
"""Free space is tight below this many times what is planned."""


def examine_disk(case: Case, sizes: Mapping[str, Size]) -> Group:
    """Sum up what is planned, part by part, and hold it against the free space at the results."""
    group = Group("Disk")
    parts = _planned(case, sizes)
    total = sum(size for _, _, size in parts)
    folder = Path(case.study.folder).absolute()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free
    width = max((len(name) for name, _, _ in parts), default=0)
    for name, how, size in parts:
        group.facts.append(f"{name:<{width}}  {readable(size):>9}  {how}")
    if not case.clips:
        group.facts.append("labels: how many shows only when all is prepared")
    group.summary = f"{readable(total)} to write, {readable(free)} free for {case.study.folder}"
    short = f"{readable(total)} to write, {readable(free)} free"
    if total > free:
        mend = "Free space, set `results` to a larger disk, or choose fewer experiments, draws or seeds."
        group.add(FAULT, "less space than the study will write", case.study.folder, mend, short)
    elif total * _AMPLE > free:
        mend = "Free some, or set `results` to a larger disk: the estimate may be out by half."
        group.add(WARNING, f"less space than {_AMPLE} times what the study will write", case.study.folder, mend, short)
    return group


def readable(size: float) -> str:
    """Bytes as a reader takes them in: `3.1 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit in ("B", "kB") else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _planned(case: Case, sizes: Mapping[str, Size]) -> list[tuple[str, str, float]]:
    """The parts: name, how it was reckoned, bytes."""
    parts: list[tuple[str, str, float]] = []
    pixels = frame_pixels(case)
    if case.undone:
        outputs = [o for task in case.undone if task.inputs for o in task.outputs]  # what reads nothing only links
        frames = sum(output.startswith("frames/") for output in outputs)
        a_pixel = frames * _BYTES_OF_FRAMES + (len(outputs) - frames) * _BYTES_OTHERWISE
        parts.append(("prepared", plural(len(outputs), "file"), pixels * a_pixel))
    pseudo, refined = needed(case)
    for method in case.study.labelled["pseudo"] if pseudo else []:
        # A clip's file also holds its key frame's label.
        wanted = {(clip, offset) for clip, offsets in pseudo.items() for offset in (0, *offsets)}
        parts.append(_labels(case, "pseudo", method, wanted, pixels))
    for method, clips in refined.items():
        parts.append(_labels(case, "refined", method, {(clip, 0) for clip in clips}, pixels))
    for experiment in case.study.families["filled"]:
        parts.append(_filled(case, experiment.id, pixels))
    for network, size in sizes.items():
        runs = [run for run in case.study.runs if run.startswith(f"{network}/")]
        due = [r for r in runs if not (Path(case.study.folder) / "runs" / r / "model.safetensors").is_file()]
        scores = 8 * len(case.source.classes.names) ** 2 * len(case.finely(case.evaluated_split))
        how = f"{_of(len(due), len(runs), 'training')}, {readable(size.model)} each"
        parts.append((f"{network} models", how, len(due) * (size.model + scores)))
        once = min(_AT_ONCE, len(due))
        how = f"{once} at once, {readable(size.checkpoint)} each, twice while one is replaced"
        parts.append((f"{network} checkpoints", how, 2 * once * size.checkpoint))
    return parts


def needed(case: Case) -> tuple[dict[str, set[int]], dict[str, set[str]]]:
    """The labels to make, as the plan deals them out: offsets by clip, and clips to refine by method."""
    study = case.study
    # Chosen by chance, as many labels are needed as by what is not measured yet.
    labelled = [replace(e, selection="random") for e in study.experiments if e.family != "annotated"]
    stock = Stock(stills_of(case.clips))
    pseudo, methods = asked_of_stages(labelled, case.eligible, study.draws, stock, study.refinement)
    refined = {
        method: {clip for clip, asked in methods.items() if asked & {"*", method}}
        for method in study.labelled["refined"]
    }
    measured = study.measured_splits if study.measured else []
    asked = [measured_labels(case.clips, measured, study.reach)]
    if offsets := case.config["propagation"]["offsets"]:
        asked.append(labels_for_all(case.clips, case.train_split, (offsets[0], offsets[1])))
    for clip_id, wanted in itertools.chain.from_iterable(each.items() for each in asked):
        pseudo.setdefault(clip_id, set()).update(wanted)
    return pseudo, refined


def filled_labels(case: Case) -> dict[tuple[str, int], int]:
    """How many propagated labels a network fills, by experiment and draw."""
    counts = {}
    for experiment in case.study.families["filled"]:
        for draw in experiment.draws_of(case.study.draws):
            pseudo, _ = needed_labels([replace(experiment, selection="random")], case.eligible, [draw])
            counts[experiment.id, draw] = sum(map(len, pseudo.values()))
    return counts


def _filled(case: Case, experiment: str, pixels: int) -> tuple[str, str, float]:
    folder = Path(case.study.folder) / "filled" / experiment
    counts = {draw: count for (filled, draw), count in filled_labels(case).items() if filled == experiment}
    due = sum(max(0, count - len(_made(folder / f"draw{draw}.csv"))) for draw, count in counts.items())
    size, how = _size_of_one(folder / "labels", _BYTES_OTHERWISE * pixels)
    return (
        f"filled {experiment}",
        f"{_of(due, sum(counts.values()), 'label')}, {readable(size)} each ({how})",
        due * size,
    )


def _labels(case: Case, stage: str, method: str, wanted: set[tuple[str, int]], pixels: int) -> tuple[str, str, float]:
    folder = Path(case.study.folder) / stage / method
    made = {(row[0], row[1]) for shard in case.study.shards for row in _made(folder / f"{shard}.csv")}
    # The key frame's own label is not among the rows; it is there where any other of its clip is.
    clips = {clip for clip, _ in made}
    due = {(c, o) for c, o in wanted if (c, o) not in made and not (o == 0 and c in clips)}
    size, how = _size_of_one(folder / "labels", _BYTES_A_PIXEL.get(method, _BYTES_OTHERWISE) * pixels)
    return f"{stage} {method}", f"{_of(len(due), len(wanted), 'label')}, {readable(size)} each ({how})", len(due) * size


def _made(path: Path) -> list[tuple[str, int]]:
    try:
        return [(row["clip"], int(row["offset"])) for row in read_csv(path, LABEL_COLUMNS)] if path.is_file() else []
    except (UserError, ValueError):
        return []  # the stage will make it again


def _size_of_one(folder: Path, guess: float) -> tuple[float, str]:
    files = list(itertools.islice(folder.rglob("*.h5"), _MEASURED))
    layers = sum(len(read_fingerprints(file)) for file in files)
    if not layers:
        return guess, "estimated"
    return sum(file.stat().st_size for file in files) / layers, "as those there"


def frame_pixels(case: Case) -> int:
    """Pixels a frame, of the first image that can be read; of an assumed dataset none can."""
    for clip in case.clips:
        image = case.source.root / clip.image
        if not image.is_file():  # within a cluster's job, one that should be there is waited for
            continue
        try:
            height, width = image_size(image)
        except UserError:
            continue
        return height * width
    return _UNKNOWN_PIXELS


def _of(due: int, all_: int, word: str) -> str:
    return plural(due, word) if due == all_ else f"{due:,} of {plural(all_, word)}"
