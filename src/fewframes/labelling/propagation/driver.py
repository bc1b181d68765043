"""Propagation of a shard: each clip found where it was made before, else made and kept as soon as it is whole.

A label file is named by the clip and a fingerprint of what all its labels share: annotation, key frame, method,
settings, version. Each of its layers carries a fingerprint of its own, chained over the frames out to it, so
that asking for further offsets leaves the others as they are, and a changed frame costs only what lies beyond.
Behind the chain stands the method's policy: where that alone has changed, labels are claimed anew from what was kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core.clips import LABEL_COLUMNS, Clip, Folder, read_shard
from fewframes.core.files import ContentHashes, digest, write_csv
from fewframes.core.images import check_size, read_instances, read_label
from fewframes.core.labelfile import (
    Layer,
    PackedLayer,
    made_layers,
    pack,
    read_fingerprints,
    read_layer,
    write_label_file,
)
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.progress import progress, say
from fewframes.core.stages import VERSIONS
from fewframes.labelling.methods import RANDOM_WEIGHTS
from fewframes.labelling.propagation import KeyFrame, Propagated, Propagator, build_propagator
from fewframes.labelling.propagation.layers import before_policy

_PACKERS, _MOST_UNPACKED = 2, 4
"""Threads that pack layers, and layers that wait for them: one of 2048x1024 with its maps is 8 MB and takes 35 ms."""

_NEXT_TO_NOTHING = 0.01
"""Share of pixels below which labels are hardly worth a training."""


def propagate_shard(
    shard: Path,
    method: str,
    settings: Mapping[str, Any],
    root: Folder,
    classes: ClassTable,
    results: Path,
    out: Path,
    housekeeping: Mapping[str, Any] | None = None,
) -> None:
    """Label every clip of a shard at the offsets it names, and write the shard's CSV of labels.

    `results` is the dataset's results folder: label files go to `pseudo/<method>/labels` below it, those made with
    random weights to `random-weights` in there. `housekeeping` are settings that no label depends on.
    """
    propagator = build_propagator(method, settings, classes, housekeeping)
    shared = {
        "method": method,
        "settings": propagator.settings,
        "version": VERSIONS["propagate"],
        "classes": classes.label_digest,
    }
    folder = results / "pseudo" / method / "labels"
    work = Work(propagator, shared, root, classes, folder / RANDOM_WEIGHTS if propagator.random_weights else folder)
    hashes = ContentHashes(results / "hashes", f"propagate-{method}-{shard.stem}")
    clips = read_shard(shard)
    jobs = (work.job(clip, [int(o) for o in extra["offsets"].split()], hashes) for clip, extra in clips)
    rows: list[tuple[str, int, str, str, str]] = []
    try:
        for job in progress(work.finished(jobs), f"propagate {method} {shard.stem}", len(clips)):
            present = made_layers(job.file, job.wanted)
            name = job.file.relative_to(results).as_posix()
            rows += [(job.clip.id, offset, name, *present[offset]) for offset in job.wanted]
    finally:
        hashes.save()
    again = f", {work.reclaimed} claimed anew" if work.reclaimed else ""
    found = len(clips) - work.made - work.reclaimed
    say(f"propagate {method} {shard.stem}: {work.made} clips labelled{again}, {found} found as they were.")
    if work.claimed:
        share = sum(work.claimed) / len(work.claimed)
        hint = ", next to nothing: loosen the method's settings" if share < _NEXT_TO_NOTHING else ""
        say(f"propagate {method} {shard.stem}: new labels claim {share:.1%} of the pixels{hint}.")
    write_csv(out, LABEL_COLUMNS, sorted(rows))


@dataclass
class Job:
    """One clip: its label file, the fingerprints that its labels must have by offset, and what is made so far."""

    clip: Clip
    file: Path
    provenance: Mapping[str, Any]
    wanted: Mapping[int, str]
    missing: frozenset[int] = frozenset()
    layers: dict[int, Future[PackedLayer]] = field(default_factory=dict)


class Packer:
    """Packs layers beside what goes on meanwhile, so that a clip's take little memory, and little time to write."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_PACKERS)
        self._unpacked: deque[Future[PackedLayer]] = deque()

    def pack(self, layer: Layer) -> Future[PackedLayer]:
        """What the layer will be, packed; waits where too many are not yet."""
        packed = self._threads.submit(pack, layer)
        self._unpacked.append(packed)
        if len(self._unpacked) > _MOST_UNPACKED:
            self._unpacked.popleft().result()
        return packed


class Work:
    """Jobs done by one propagator.

    Counts the clips `made`, and those `reclaimed`, whose policy alone had changed; `claimed` are the shares of pixels
    that the new labels claim.
    """

    def __init__(
        self, propagator: Propagator, shared: Mapping[str, Any], root: Folder, classes: ClassTable, folder: Path
    ) -> None:
        self._propagator, self._shared = propagator, shared
        self._root, self._classes, self._folder = root, classes, folder
        self._packer = Packer()
        self.made = self.reclaimed = 0
        self.claimed: list[float] = []

    def job(self, clip: Clip, offsets: list[int], hashes: ContentHashes) -> Job:
        """What is to be done for a clip at some offsets, and at 0, the key frame's own."""
        provenance = {
            **self._shared,
            "clip": clip.id,
            "annotation": clip.fine,
            "annotation_hash": hashes.of(self._root / clip.fine),
            "image_hash": hashes.of(self._root / clip.image),
        }
        if self._propagator.uses_instances:
            instances = clip.fine_instances
            provenance["instances_hash"] = hashes.of(self._root / instances) if instances else ""
        base = digest(provenance)
        policy = f"-{digest(self._propagator.policy)}" if self._propagator.policy else ""
        wanted = {0: base}
        for far in (min([0, *offsets]), max([0, *offsets])):
            chain = base
            for offset in clip.outward(far):
                chain = digest(chain, hashes.of(self._root / clip.image_at(offset)))
                if offset in offsets:
                    wanted[offset] = chain + policy
        return Job(clip, self._folder / f"{clip.id}-{base}.h5", provenance, dict(sorted(wanted.items())))

    def finished(self, jobs: Iterator[Job]) -> Iterator[Job]:
        """Yield each job once its label file is whole: first those that need no propagation."""
        to_propagate: list[Job] = []
        for job in jobs:
            self._begin(job)
            if job.missing:
                to_propagate.append(job)
            else:
                yield job
        keys = (self._key_frame(job) for job in to_propagate)
        for position, offset, made in self._propagator.propagate(keys):
            job = to_propagate[position]
            notes = self._propagator.notes
            self._keep(job, offset, Layer(made.label, job.wanted[offset], made.maps, made.objects, notes))
            if job.missing <= job.layers.keys():
                self._write(job)
                self.made += 1
                yield job

    def _begin(self, job: Job) -> None:
        """Make the labels that need no propagation, and note which are missing."""
        present = {offset: fingerprint for offset, (fingerprint, _) in read_fingerprints(job.file).items()}
        due = {o for o, fingerprint in job.wanted.items() if present.get(o) != fingerprint}
        again = {o for o in due if before_policy(present.get(o, "")) == before_policy(job.wanted[o])}
        for offset in again:
            kept = read_layer(job.file, offset)
            label = self._propagator.reclaim(Propagated(kept.label, kept.maps, kept.objects))
            self._keep(job, offset, replace(kept, label=label, fingerprint=job.wanted[offset]))
        job.missing = frozenset(due - again - {0})
        if 0 in due and not job.missing:
            self.made += 1
        elif again and not job.missing:
            self.reclaimed += 1
        if again or (0 in due and not job.missing):
            self._write(job)

    def _keep(self, job: Job, offset: int, layer: Layer) -> None:
        self.claimed.append(float((layer.label != IGNORE).mean()))
        job.layers[offset] = self._packer.pack(layer)

    def _key_frame(self, job: Job) -> KeyFrame:
        clip = job.clip
        reach = (*clip.outward(min({0} | job.missing)), 0, *clip.outward(max({0} | job.missing)))
        images = {offset: self._root / clip.image_at(offset) for offset in reach}
        label, instances = self._annotation(clip), None
        if self._propagator.uses_instances and clip.fine_instances:
            file = self._root / clip.fine_instances
            instances = read_instances(file)
            check_size(file, instances.shape, label.shape, f"its label {clip.fine} is", "take both from one annotation")
        return KeyFrame(clip.id, label, instances, images, job.missing)

    def _annotation(self, clip: Clip) -> NDArray[np.uint8]:
        path = self._root / clip.fine
        return self._classes.to_train_ids(read_label(path), path)

    def _write(self, job: Job) -> None:
        present = read_fingerprints(job.file)
        kept = {o: read_layer(job.file, o) for o in present if o not in job.layers}
        # The key frame's label is the annotation itself, never a prediction.
        key = {} if 0 in kept else {0: Layer(self._annotation(job.clip), job.wanted[0])}
        made = {offset: packed.result() for offset, packed in job.layers.items()}
        write_label_file(job.file, {**key, **kept, **made}, job.provenance)
        job.layers = {}
