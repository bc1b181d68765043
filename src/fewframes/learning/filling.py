"""What propagated labels leave unlabelled, filled with the predictions of a trained network (self-training).

Every pixel of a propagated label that is 255 is filled, and no other changes. The paper (section 5.1.2) speaks of new
objects, which no tracker of the key frame's objects can label; a label does not tell those from what its method did not
claim, or from what the annotator left out of the key frame, so all of it is filled. Labels that a person drew or
corrected are not.

They are kept as propagated labels are: one label file a clip, with a fingerprint of all that decides it. So a killed
job goes on where it was, and only what changed is filled again.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fewframes.core.clips import LABEL_COLUMNS, Folder
from fewframes.core.device import announced_device
from fewframes.core.files import content_hash, digest, write_csv
from fewframes.core.labelfile import Layer, made_layers, read_fingerprints, read_layer, write_label_file
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.progress import progress, say
from fewframes.core.stages import VERSIONS
from fewframes.labelling.methods import RANDOM_WEIGHTS, made_at_random
from fewframes.learning.evaluation import EvaluationSettings, predict
from fewframes.learning.modelfile import load_model
from fewframes.learning.samples import Sample, SampleReader, read_manifest
from fewframes.learning.training import seen_by, use_threads

PROPAGATED = "pseudo:"
"""How the source of a sample begins whose label is filled."""


@dataclass(frozen=True)
class _Clip:
    """A clip's label file, what it is made from, and its samples to fill by the fingerprint of the filled label."""

    file: Path
    provenance: Mapping[str, Any]
    samples: Mapping[str, Sample]

    def missing(self) -> dict[str, Sample]:
        """Those that its file does not hold."""
        present = {fingerprint for fingerprint, _ in read_fingerprints(self.file).values()}
        return {fingerprint: sample for fingerprint, sample in self.samples.items() if fingerprint not in present}


def fill(
    model: str | Path,
    manifest: str | Path,
    dataset_root: Folder,
    results: Path,
    classes: ClassTable,
    labels: Path,
    out: str | Path,
    settings: Mapping[str, Any],
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Fill the propagated labels of a manifest by a model; write the CSV `out` of the filled ones.

    Label files go to the folder `labels` below the dataset's `results`, those of labels that random weights made to
    `random-weights` in there. `settings` are those of `EvaluationSettings` but `size`; of a network with several paths
    the first predicts. The network is not loaded where all labels are found. Raises `UserError` for files that do not
    serve.
    """
    plan = EvaluationSettings.parse(settings)
    propagated = [sample for sample in read_manifest(manifest) if sample.source.startswith(PROPAGATED)]
    shared = {
        "settings": dict(settings),
        "model": Path(model).as_posix(),
        "model_hash": content_hash(model),
        "version": VERSIONS["fill"],
        "classes": classes.label_digest,
    }
    grouped = itertools.groupby(propagated, key=lambda sample: sample.clip)
    clips = [_clip(clip, list(samples), shared, labels) for clip, samples in grouped]
    due = [clip for clip in clips if clip.missing()]
    reader = SampleReader(dataset_root, results, classes)
    reader.check_files(sample for clip in due for sample in clip.samples.values())
    what = f"fill {Path(out).parent.name}/{Path(out).stem}"
    shares: list[float] = []
    if due:
        where = announced_device(device, "filling")
        use_threads(threads)
        network = load_model(model, classes).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for clip in progress(due, what):
            shares += _fill_clip(clip, network, manifest, reader, plan, where)
    left = f"; {np.mean(shares):.1%} of their pixels were unlabelled" if shares else ""
    say(f"{what}: {len(due)} clips filled, {len(clips) - len(due)} found as they were{left}.")
    rows = [row for clip in clips for row in _rows(clip, results)]
    write_csv(out, LABEL_COLUMNS, sorted(rows))


def _clip(clip: str, samples: Sequence[Sample], shared: Mapping[str, Any], labels: Path) -> _Clip:
    # By content alone: a model of the same content elsewhere, or by another name, is the same.
    known_by = digest({**shared, "model": "", "clip": clip})
    random = made_at_random(Path(samples[0].label))
    file = (labels / RANDOM_WEIGHTS if random else labels) / f"{clip}-{known_by}.h5"
    # A sample's own fingerprint is of its frames, and of its label as it was propagated.
    return _Clip(file, {**shared, "clip": clip}, {digest(known_by, s.fingerprint): s for s in samples})


def _fill_clip(
    clip: _Clip,
    network: nn.Module,
    manifest: str | Path,
    reader: SampleReader,
    plan: EvaluationSettings,
    where: torch.device,
) -> list[float]:
    """Write the clip's label file; returns the share of pixels filled of each label that was missing."""
    missing = clip.missing()
    layers, shares = {}, []
    for fingerprint, sample in clip.samples.items():
        if fingerprint not in missing:
            layers[sample.offset] = read_layer(clip.file, sample.offset)
            continue
        (seen,) = seen_by(network, [sample], manifest)
        frames, label = reader(seen)
        unlabelled = label == IGNORE
        predicted = predict(network, frames, plan, where)
        notes = {"unfilled": sample.label, "device": str(where)}
        layers[sample.offset] = Layer(np.where(unlabelled, predicted, label), fingerprint, notes=notes)
        shares.append(float(unlabelled.mean()))
    write_label_file(clip.file, layers, clip.provenance)
    return shares


def _rows(clip: _Clip, results: Path) -> list[tuple[str, int, str, str, str]]:
    present = made_layers(clip.file, [sample.offset for sample in clip.samples.values()])
    name = clip.file.relative_to(results).as_posix()
    return [(sample.clip, sample.offset, name, *present[sample.offset]) for sample in clip.samples.values()]
