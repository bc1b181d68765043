"""The exact samples of an experiment, and what must be labelled before they can be written down.

A manifest is a CSV, one row a training sample. Its rows name files and a fingerprint of their content, so a
training is due again exactly when its manifest's bytes change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fewframes.core.clips import LABEL_COLUMNS, Clip, Folder, read_clips
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, digest, read_csv, write_csv
from fewframes.core.progress import progress, say
from fewframes.experiments.corrected import Corrected, read_corrected
from fewframes.experiments.dealing import Pick, Stock, picks, stills_of
from fewframes.experiments.schemes import Experiment, experiment_from
from fewframes.experiments.selection import read_measured


def ineligible(clip: Clip, experiments: Iterable[Experiment], past_frames: int) -> str:
    """Why a clip cannot serve every one of the experiments, or nothing where it can.

    A clip that lacks an offset, a memory frame or an annotation that any of them needs is left out of all,
    so that all are drawn from the same clips.
    """
    offsets = {o for e in experiments if not e.still for o in e.offsets}
    if not clip.fine:
        return "no fine annotation"
    if any(e.coarse_percent and not e.still for e in experiments) and not clip.coarse:
        return "no coarse annotation"
    for offset in sorted(offsets):
        if not clip.has(offset):
            return f"no frame at offset {offset:+d}"
        if past_frames and not clip.memory_at(offset, past_frames):
            return f"no past frame for the network at offset {offset:+d} (it looks {past_frames} back)"
    return ""


def needed_labels(
    experiments: Iterable[Experiment], eligible: Sequence[Clip], draws: Sequence[int], stock: Stock | None = None
) -> tuple[dict[str, set[int]], set[str]]:
    """What the experiments ask of propagation (offsets by clip id) and of refinement (clip ids)."""
    pseudo: dict[str, set[int]] = {}
    refined: set[str] = set()
    for experiment in experiments:
        for draw in experiment.draws_of(draws):
            for pick in picks(experiment, eligible, draw, stock):
                if pick.kind == "pseudo":
                    pseudo.setdefault(pick.clip.id, set()).add(pick.offset)
                elif pick.kind == "refined":
                    refined.add(pick.clip.id)
    return pseudo, refined


def labels_for_all(clips: Iterable[Clip], split: str, offsets: tuple[int, int]) -> dict[str, set[int]]:
    """The frames from the first to the last of `offsets`, by id of every finely annotated clip of a split."""
    span = range(offsets[0], offsets[1] + 1)
    wanted = {c.id: {o for o in span if o and c.has(o)} for c in clips if c.split == split and c.fine}
    return {clip: found for clip, found in wanted.items() if found}


def measured_labels(clips: Iterable[Clip], splits: Collection[str], reach: int) -> dict[str, set[int]]:
    """What measuring asks of propagation: offsets up to `reach` frames away, by id of the clips of these splits."""
    measured = (c for c in clips if c.truth and c.fine and c.split in splits)
    offsets = {c.id: {o for o in range(-reach, reach + 1) if o and c.has(o)} for c in measured}
    return {clip: wanted for clip, wanted in offsets.items() if wanted}


def collect_labels(shards: Iterable[str | Path], out: str | Path) -> None:
    """Write the rows of all shards' CSVs of labels as one, in the order of clip and offset."""
    rows = [row for path in shards for row in read_csv(path, LABEL_COLUMNS)]
    rows.sort(key=lambda row: (row["clip"], int(row["offset"])))
    write_csv(out, LABEL_COLUMNS, ([row[column] for column in LABEL_COLUMNS] for row in rows))


class Labels:
    """The labels that a method made, read from their collected CSV."""

    def __init__(self, method: str, path: str | Path) -> None:
        self.method = method
        self._rows = {
            (row["clip"], int(row["offset"])): (row["file"], row["fingerprint"])
            for row in read_csv(path, LABEL_COLUMNS)
        }

    def of(self, clip: str, offset: int) -> tuple[str, str]:
        """File (relative to the dataset's results) and fingerprint of a clip's label at an offset."""
        try:
            return self._rows[clip, offset]
        except KeyError:
            raise UserError(
                f"No label of {clip} at offset {offset:+d} was made by '{self.method}': run `snakemake` again."
            ) from None


def write_manifest(
    path: str | Path,
    samples: Sequence[Pick],
    root: Folder,
    hashes: ContentHashes,
    past_frames: int,
    made: Mapping[str, Labels],
    corrected: Mapping[tuple[str, int, str], Corrected] = MappingProxyType({}),
) -> None:
    """Write the samples as a manifest.

    Columns: `clip, offset, source, image, memory_1 … memory_T` (oldest first; the image itself where there is no
    earlier frame, and of a `still` sample), `label, fingerprint`. `made` has the labels by kind (`pseudo`, `refined`);
    in the place of one that a person corrected stands the `corrected` one.
    """
    rows = []
    for pick in progress(samples, f"manifest {Path(path).parent.name}/{Path(path).stem}"):
        clip = pick.clip
        image = clip.image_at(pick.offset)
        memory = (() if pick.still else clip.memory_at(pick.offset, past_frames)) or (image,) * past_frames
        correction = corrected.get((clip.id, pick.offset, pick.kind))
        if correction:
            label, known_by, source = correction.file, correction.fingerprint, f"corrected-{pick.kind}"
        elif pick.kind in made:
            label, known_by = made[pick.kind].of(clip.id, pick.offset)
            source = f"{pick.kind}:{made[pick.kind].method}"
        else:
            label = clip.annotation(pick.kind)
            known_by, source = hashes.of(root / label), pick.kind
        content = sample_fingerprint([root / f for f in (image, *memory)], known_by, hashes)
        rows.append([clip.id, pick.offset, source, image, *memory, label, content])
    memories = [f"memory_{i + 1}" for i in range(past_frames)]
    write_csv(path, ["clip", "offset", "source", "image", *memories, "label", "fingerprint"], rows)


def write_filled(unfilled: Path, labels: Path, out: Path, root: Folder, hashes: ContentHashes) -> None:
    """Write the manifest `unfilled` again with the filled labels of the CSV `labels` in the place of propagated ones.

    Their source is `filled` with what propagated them; all other samples stay as they are.
    """
    rows = list(read_csv(unfilled, ("clip", "offset", "source", "image", "label", "fingerprint")))
    memories = [column for column in rows[0] if column.startswith("memory_")] if rows else []
    filled = Labels("fill", labels)
    for row in progress(rows, f"manifest {out.parent.name}/{out.stem}"):
        kind, _, method = row["source"].partition(":")
        if kind == "pseudo":
            row["source"] = f"filled:{method}"
            row["label"], known_by = filled.of(row["clip"], int(row["offset"]))
            images = [root / row[column] for column in ("image", *memories)]
            row["fingerprint"] = sample_fingerprint(images, known_by, hashes)
    columns = ("clip", "offset", "source", "image", *memories, "label", "fingerprint")
    write_csv(out, columns, ([row[column] for column in columns] for row in rows))


def sample_fingerprint(images: Iterable[Path], known_by: str, hashes: ContentHashes) -> str:
    """A digest of a sample's image and the frames before it (oldest first), and what its label is `known_by`."""
    return digest([hashes.of(file) for file in images], known_by)


def evaluation_picks(clips: Iterable[Clip], split: str) -> list[Pick]:
    """The samples to evaluate on: every finely annotated frame of a split."""
    samples = [Pick(clip, 0, "fine") for clip in clips if clip.split == split and clip.fine]
    if not samples:
        raise UserError(f"No frame of split '{split}' is finely annotated: correct evaluation.split in the config.")
    alone = sum(not pick.clip.has(-pick.clip.step) for pick in samples)
    if alone:
        say(f"{alone} of {len(samples)} evaluation frames have no earlier frame: each is its own memory.")
    return samples


def write_family(
    family: str,
    settings: Mapping[str, Any],
    root: Folder,
    results: Path,
    made: Mapping[str, Mapping[str, Labels]],
) -> None:
    """Write the manifests of a family of experiments, `manifests/<experiment>/draw<j>.csv` below `results`.

    `made` has the labels by kind and method; the first method of a kind serves experiments that name none.

    `settings` has `experiments` (recipes by id), `draws`, `past_frames`, where an experiment counts hours `minutes`
    (`ClassTable.minutes`), and, for the family that also writes the frames to evaluate on
    (`manifests/evaluation.csv`), `evaluation_split`.
    """
    clips = read_clips(results / "index.csv")
    reasons = {row["clip"]: row["reason"] for row in read_csv(results / "eligible.csv", ("clip", "reason"))}
    eligible = [clip for clip in clips if reasons.get(clip.id) == ""]
    hashes = ContentHashes(results / "hashes", f"manifests-{family}")
    corrected = read_corrected(results)
    past = settings["past_frames"]
    experiments = [experiment_from(id_, recipe) for id_, recipe in settings["experiments"].items()]
    stock = Stock(stills_of(clips), settings.get("minutes", {}), read_measured(results, experiments))
    for experiment in experiments:
        labels = {kind: next(iter(of.values())) for kind, of in made.items()}
        if experiment.family == "refined":
            labels["refined"] = made["refined"][experiment.refining(labels["refined"].method)]
        for draw in experiment.draws_of(settings["draws"]):
            path = results / "manifests" / experiment.id / f"draw{draw}.csv"
            write_manifest(path, picks(experiment, eligible, draw, stock), root, hashes, past, labels, corrected)
            hashes.save()
    if split := settings.get("evaluation_split"):
        path = results / "manifests" / "evaluation.csv"
        write_manifest(path, evaluation_picks(clips, split), root, hashes, past, {})
        hashes.save()
