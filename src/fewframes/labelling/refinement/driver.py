"""Refinement of a shard: each image found where it was made before, else made and kept at once.

A label file holds the refined label as its layer 0 and is named by the image and a fingerprint of all that it was
made from: image, coarse label, instances, method, settings, version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewframes.core.clips import LABEL_COLUMNS, Clip, Folder, asks_for, read_shard
from fewframes.core.files import ContentHashes, digest, write_csv
from fewframes.core.images import check_size, read_instances, read_label
from fewframes.core.labelfile import Layer, made_layers, read_fingerprints, write_label_file
from fewframes.core.labels import ClassTable
from fewframes.core.progress import progress, say
from fewframes.core.stages import VERSIONS
from fewframes.labelling.methods import RANDOM_WEIGHTS
from fewframes.labelling.refinement import CoarseImage, Refiner, build_refiner


def refine_shard(
    shard: Path,
    method: str,
    settings: Mapping[str, Any],
    root: Folder,
    classes: ClassTable,
    results: Path,
    out: Path,
    housekeeping: Mapping[str, Any] | None = None,
) -> None:
    """Refine the coarse label of every image that a shard asks for by the method, and write the shard's CSV of labels.

    `results` is the dataset's results folder: label files go to `refined/<method>/labels` below it, those made with
    random weights to `random-weights` in there. `housekeeping` are settings that no label depends on.
    """
    refiner = build_refiner(method, settings, classes, housekeeping)
    shared = {
        "method": method,
        "settings": refiner.settings,
        "version": VERSIONS["refine"],
        "classes": [classes.label_digest, classes.refined],
    }
    folder = results / "refined" / method / "labels"
    if refiner.random_weights:
        folder /= RANDOM_WEIGHTS
    hashes = ContentHashes(results / "hashes", f"refine-{method}-{shard.stem}")
    clips = [clip for clip, extra in read_shard(shard) if asks_for(extra, method)]
    counts: Counter[str] = Counter()
    rows: list[tuple[str, int, str, str, str]] = []
    try:
        jobs = (_job(clip, shared, root, hashes, folder) for clip in clips)
        for job in progress(
            _finished(jobs, refiner, root, classes, counts), f"refine {method} {shard.stem}", len(clips)
        ):
            fingerprint, checksum = made_layers(job.file, (0,))[0]
            rows.append((job.clip.id, 0, job.file.relative_to(results).as_posix(), fingerprint, checksum))
    finally:
        hashes.save()
    made = counts.pop("images", 0)
    became = "".join(f", {n} {what}" for what, n in sorted(counts.items()))
    say(f"refine {method} {shard.stem}: {made} images{became}; {len(clips) - made} images found as they were.")
    write_csv(out, LABEL_COLUMNS, sorted(rows))


@dataclass(frozen=True)
class _Job:
    """One image: its label file, and what it is known by."""

    clip: Clip
    file: Path
    fingerprint: str
    provenance: Mapping[str, Any]


def _job(clip: Clip, shared: Mapping[str, Any], root: Folder, hashes: ContentHashes, folder: Path) -> _Job:
    provenance = {
        **shared,
        "clip": clip.id,
        "annotation": clip.coarse,
        "annotation_hash": hashes.of(root / clip.coarse),
        "instances_hash": hashes.of(root / clip.coarse_instances) if clip.coarse_instances else "",
        "image_hash": hashes.of(root / clip.image),
    }
    fingerprint = digest(provenance)
    return _Job(clip, folder / f"{clip.id}-{fingerprint}.h5", fingerprint, provenance)


def _finished(
    jobs: Iterable[_Job], refiner: Refiner, root: Folder, classes: ClassTable, counts: Counter[str]
) -> Iterator[_Job]:
    """Yield each job once its label file is there, first those whose is; `counts` images and objects made."""
    due: list[_Job] = []
    for job in jobs:
        if read_fingerprints(job.file).get(0, ("", ""))[0] == job.fingerprint:
            yield job
        else:
            due.append(job)
    for position, made in refiner.refine_all(_coarse_image(job.clip, root, classes) for job in due):
        job = due[position]
        counts.update(made.counts, images=1)
        layer = Layer(made.label, job.fingerprint, made.maps, made.objects, refiner.notes)
        write_label_file(job.file, {0: layer}, job.provenance)
        yield job


def _coarse_image(clip: Clip, root: Folder, classes: ClassTable) -> CoarseImage:
    coarse, instances = classes.to_train_ids(read_label(root / clip.coarse), root / clip.coarse), None
    if clip.coarse_instances:
        file = root / clip.coarse_instances
        instances = read_instances(file)
        check_size(file, instances.shape, coarse.shape, f"its label {clip.coarse} is", "take both from one annotation")
    return CoarseImage(clip.id, root / clip.image, coarse, instances)
