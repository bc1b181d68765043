"""Signals that need no truth: what a label says of itself, and what becomes of it when it is carried back.

The labels of a few training clips are sent back by the method that made them: a label out at some offset is taken
for a key frame, and carried to the annotated one. What returns is compared with the annotation (cycle consistency),
what it passes on the way with the labels carried out (forward-backward agreement). All is said of labels before any
policy leaves pixels of them unclaimed: one can be tuned by what is found, and to change it makes nothing due.

Both flatter: where a method errs on the way out it tends to err back the same way, and the errors cancel. (On four
clips of a CamVid video the labels of `flow` are right on 97.0 % of the claimed pixels, by cycle on 99.5 %; still its
cycle ranks them, 0.6 by Spearman.) Copying always returns to the annotation: its cycle is 1 by construction.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core import metrics
from fewframes.core.clips import LABEL_COLUMNS, Clip, Folder, stamp
from fewframes.core.files import canonical_json, digest, read_csv, write_csv, write_text
from fewframes.core.images import FIRST_INSTANCE, check_size, read_label
from fewframes.core.labelfile import Layer, read_layer
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.metrics import confusion_matrix, iou_per_class, mean
from fewframes.core.progress import progress, say
from fewframes.core.stages import VERSIONS
from fewframes.labelling.policycurve import count_by_confidence, decimal, write_curve
from fewframes.labelling.propagation import KeyFrame, Propagated, Propagator, build_propagator
from fewframes.labelling.propagation.layers import before_policy, unfiltered

SIGNALS = ("coverage", "confidence", "presence", "steadiness", "cycle", "agreement")
"""What is said of a label without truth, a share of 1 where more should be better.

`coverage`: pixels claimed; `confidence`: mean over all pixels, the unclaimed counted 0; `presence`: mean probability
that an object is in the frame; `steadiness`: mean of 1 / the largest jump of an object's area; `cycle`: mIoU of the
label that returns to the key frame, on the pixels it claims; `agreement`: pixels on which the label carried out and
the one carried back from the farthest agree, of those that both claim. Means over objects are weighted by area.
Agreement is for comparing labels equally far out: the way there by the farthest is the longer, the nearer they are.
"""

COLUMNS = ("method", "clip", "offset", *SIGNALS, "iou")
"""Columns of the table of signals, a row a label; empty where a method has no such signal or nothing tells.

`iou` is the mIoU against dense truth on the claimed pixels, a share of 1.
"""

_FRACTIONS = (0.25, 0.5, 1.0)
"""From where labels are carried back, in each direction, as shares of how far the clip's labels reach."""

_SPLIT = "train"
"""Signals serve for tuning: no clip is looked at on which anything is scored."""


def write_signals(
    method: str,
    settings: Mapping[str, Any],
    labels: Path,
    clips: Iterable[Clip],
    root: Folder,
    truth_root: Folder | None,
    classes: ClassTable,
    results: Path,
    count: int,
    *,
    out: Path,
    curve: Path,
    cache: Path,
    housekeeping: Mapping[str, Any] | None = None,
) -> None:
    """Measure the signals of `count` training clips' `labels`, and write their table and the policy curve.

    `labels` is the collected CSV of a method's labels, whose paths are relative to `results`. `truth_root` is the
    folder of dense truth, where there is any. What is found of a clip is kept below `cache`, and computed again
    only where its labels, its truth or the method have changed. Without training clips that have labels, it is empty.
    """
    propagator = build_propagator(method, settings, classes, housekeeping)
    made: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    for row in read_csv(labels, LABEL_COLUMNS):
        made[row["clip"]][int(row["offset"])] = row
    fit = [clip for clip in clips if clip.split == _SPLIT and {0} < made.get(clip.id, {}).keys()]
    if not fit:
        say(f"signals {method}: no clip of split '{_SPLIT}' has labels, so there is nothing to measure.")
    # By a hash, as draws are: a new clip displaces at most one other.
    fit = sorted(fit, key=lambda clip: digest("signals", clip.id))[:count]
    shared = [method, propagator.settings, classes.label_digest, [VERSIONS.get(s) for s in ("propagate", "signals")]]
    chosen = sorted(fit, key=lambda clip: clip.id)
    jobs = [_job(clip, made[clip.id], truth_root, results, cache, shared) for clip in chosen]
    due = [job for job in jobs if _found(job.kept) is None]
    work = _Work(propagator, root, classes)
    for job in progress(work.finished(due), f"signals {method}", len(due)):
        job.keep()
    say(f"signals {method}: {len(due)} clips carried back, {len(jobs) - len(due)} found as they were.")

    rows: list[tuple[object, ...]] = []
    counts: dict[str, NDArray[np.int64]] = {}
    for job in jobs:
        found = _found(job.kept)
        for offset, signals in sorted((int(o), signals) for o, signals in found["signals"].items()):
            values = (signals.get(name, float("nan")) for name in (*SIGNALS, "iou"))
            rows.append((method, job.clip.id, offset, *map(decimal, values)))
        for source, matrices in found["counts"].items():
            counts[source] = counts.get(source, 0) + np.array(matrices, np.int64)
    write_csv(out, COLUMNS, rows)
    write_curve(method, counts, curve, suggest=bool(propagator.policy))


@dataclass
class _Job:
    """A clip: its label and truth files by offset, what is carried back from where, and what is found so far."""

    clip: Clip
    files: Mapping[int, Path]
    truths: Mapping[int, Path]
    kept: Path
    returns: Mapping[int, frozenset[int]]
    waiting: set[tuple[int, int]]
    signals: dict[int, dict[str, float]]
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def note(self, offset: int, **signals: float) -> None:
        """Keep the signals of a label that are numbers."""
        self.signals[offset] |= {name: float(value) for name, value in signals.items() if not np.isnan(value)}

    def keep(self) -> None:
        """Write down all that is found."""
        counts = {source: matrices.tolist() for source, matrices in self.counts.items()}
        write_text(self.kept, canonical_json({"signals": self.signals, "counts": counts}))


def _job(
    clip: Clip,
    made: Mapping[int, Mapping[str, str]],
    truth_root: Folder | None,
    results: Path,
    cache: Path,
    shared: Any,
) -> _Job:
    offsets = sorted(o for o in made if o)
    truths = {}
    if truth_root is not None and clip.truth:
        truths = {o: clip.truth_at(o) for o in offsets if (truth_root / clip.truth_at(o)).is_file()}
    known = [shared, {o: before_policy(row["fingerprint"]) for o, row in made.items()}]
    if truth_root is not None:
        known.append(stamp(truth_root, truths.values()))
    returns = returns_of(offsets)
    return _Job(
        clip,
        files={o: results / row["file"] for o, row in made.items()},
        truths={o: truth_root / path for o, path in truths.items()} if truth_root is not None else {},
        kept=cache / f"{clip.id}-{digest(*known)}.json",
        returns=returns,
        waiting={(start, back) for start, to in returns.items() for back in to},
        signals={offset: {} for offset in offsets},
    )


def returns_of(offsets: Collection[int]) -> dict[int, frozenset[int]]:
    """From which of the labels' offsets they are carried back, and to which: all to 0, the farthest to each."""
    returns: dict[int, frozenset[int]] = {}
    for side in (-1, 1):
        distances = sorted(o * side for o in offsets if o * side > 0)
        for fraction in _FRACTIONS if distances else ():
            start = min(distances, key=lambda d: abs(d - fraction * distances[-1]))
            passed = distances[:-1] if start == distances[-1] else []
            returns[side * start] = frozenset({0, *(side * d for d in passed)})
    return returns


def _found(kept: Path) -> Any:
    """What was kept of a clip; None where there is nothing legible."""
    try:
        return json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class _Work:
    """Jobs done by one propagator, which may have many clips at work at a time."""

    def __init__(self, propagator: Propagator, root: Folder, classes: ClassTable) -> None:
        self._propagator, self._root, self._classes = propagator, root, classes

    def finished(self, jobs: Iterable[_Job]) -> Iterator[_Job]:
        """Yield each job once all of its labels have returned."""
        sent: list[tuple[_Job, int]] = []

        def to_return() -> Iterator[KeyFrame]:
            for job in jobs:
                for start in job.returns:
                    sent.append((job, start))
                    yield self._key_frame(job, start)

        for position, offset, made in self._propagator.propagate(to_return()):
            job, start = sent[position]
            self._returned(job, start, start + offset, made)
            job.waiting.remove((start, start + offset))
            if not job.waiting:
                self._measure(job)
                yield job

    def _key_frame(self, job: _Job, start: int) -> KeyFrame:
        layer, clip = read_layer(job.files[start], start), job.clip
        instances = None
        if "object" in layer.maps:  # the same objects are followed back
            objects = layer.maps["object"].astype(np.int32)
            instances = np.where(objects >= 0, FIRST_INSTANCE + objects, 0)
        images = {offset - start: self._root / clip.image_at(offset) for offset in (0, *clip.outward(start))}
        wanted = frozenset(offset - start for offset in job.returns[start])
        return KeyFrame(f"{clip.id} back from {start:+d}", unfiltered(layer), instances, images, wanted)

    def _returned(self, job: _Job, start: int, offset: int, made: Propagated) -> None:
        """Compare what was carried from `start` back to `offset` with what is there."""
        there = unfiltered(read_layer(job.files[offset], offset, maps=("object",)))
        back = unfiltered(made)
        if offset:
            both = (back != IGNORE) & (there != IGNORE)
            job.note(offset, agreement=(back == there)[both].mean() if both.any() else float("nan"))
            return
        job.note(start, cycle=self._miou(there, back))
        self._count(job, "cycle", there, made)

    def _measure(self, job: _Job) -> None:
        """Note what a clip's labels say of themselves, and how true they are."""
        for side in (-1, 1):
            weights = np.zeros(0)
            for offset in sorted((o for o in job.signals if o * side > 0), key=abs):
                layer = read_layer(job.files[offset], offset)
                if not weights.size:
                    # As the label nearest to the key frame has it: what is lost farther out has no area any more.
                    weights = layer.objects.get("area", weights)
                job.note(offset, **_own_signals(layer, weights))
                if offset in job.truths:
                    truth = self._truth(job.truths[offset], layer.label.shape)
                    job.note(offset, iou=self._miou(truth, unfiltered(layer)))
                    if offset in job.returns:
                        self._count(job, "truth", truth, layer)

    def _truth(self, path: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:
        truth = self._classes.to_train_ids(read_label(path), path)
        check_size(path, truth.shape, size, "its clip's labels are", "bring truth and frames to one size")
        return truth

    def _miou(self, truth: NDArray[np.uint8], label: NDArray[np.uint8]) -> float:
        return mean(iou_per_class(metrics.claimed(confusion_matrix(truth, label, len(self._classes.names)))))

    def _count(self, job: _Job, source: str, truth: NDArray[np.uint8], made: Layer | Propagated) -> None:
        if "confidence" in made.maps:
            counted = count_by_confidence(truth, unfiltered(made), made.maps["confidence"], len(self._classes.names))
            job.counts[source] = job.counts.get(source, 0) + counted


def _own_signals(layer: Layer, weights: NDArray[Any]) -> dict[str, float]:
    claimed = unfiltered(layer) != IGNORE
    signals = {"coverage": claimed.mean()}
    if "confidence" in layer.maps:
        signals["confidence"] = (layer.maps["confidence"] * claimed).mean() / 255
    if weights.size:
        weights = weights if weights.any() else np.ones_like(weights)
        signals["presence"] = np.average(layer.objects["presence"], weights=weights)
        signals["steadiness"] = np.average(1 / layer.objects["jump"], weights=weights)
    return signals
