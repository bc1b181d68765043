"""Propagation of a shard: clip by clip, each found where it was made before, else made and kept at once.

A label file is named by the clip and a fingerprint of what all its labels share: annotation, key frame, method,
settings, version. Each of its layers carries a fingerprint of its own, chained over the frames out to it, so
that asking for further offsets leaves the others as they are, and a changed frame costs only what lies beyond.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core.clips import LABEL_COLUMNS, Clip, Folder, read_shard
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, digest, write_csv
from fewframes.core.images import read_image, read_label
from fewframes.core.labelfile import Layer, read_fingerprints, read_layer, write_label_file
from fewframes.core.labels import ClassTable
from fewframes.core.progress import progress, say
from fewframes.core.stages import VERSIONS
from fewframes.labelling.propagation import Propagator, build_propagator


def propagate_shard(
    shard: Path,
    method: str,
    settings: Mapping[str, Any],
    root: Folder,
    classes: ClassTable,
    results: Path,
    out: Path,
) -> None:
    """Label every clip of a shard at the offsets it names, and write the shard's CSV of labels.

    `results` is the dataset's results folder: label files go to `pseudo/<method>/labels` below it.
    """
    propagator = build_propagator(method, settings)
    known_by = {"method": method, "settings": propagator.settings, "version": VERSIONS["propagate"]}
    hashes = ContentHashes(results / "hashes", f"propagate-{method}-{shard.stem}")
    clips = read_shard(shard)
    made = 0
    rows: list[list[object]] = []
    for clip, extra in progress(clips, f"propagate {method} {shard.stem}"):
        offsets = [int(o) for o in extra["offsets"].split()]
        provenance = {
            **known_by,
            "clip": clip.id,
            "annotation": clip.fine,
            "annotation_hash": hashes.of(root / clip.fine),
            "image_hash": hashes.of(root / clip.image),
            "classes": classes.label_digest,
        }
        file = results / "pseudo" / method / "labels" / f"{clip.id}-{digest(provenance)}.h5"
        wanted = _fingerprints(clip, offsets, provenance, root, hashes)
        present = read_fingerprints(file)
        missing = [o for o in wanted if present.get(o, ("", ""))[0] != wanted[o]]
        if missing:
            layers = _propagated(clip, missing, wanted, propagator, root, classes)
            kept = {o: read_layer(file, o) for o in present if o not in missing}
            write_label_file(file, {**kept, **layers}, provenance)
            present = read_fingerprints(file)
            made += 1
        name = file.relative_to(results).as_posix()
        rows += [[clip.id, offset, name, *present[offset]] for offset in sorted(wanted)]
    hashes.save()
    say(f"propagate {method} {shard.stem}: {made} clips labelled, {len(clips) - made} found as they were.")
    write_csv(out, LABEL_COLUMNS, rows)


def _fingerprints(
    clip: Clip, offsets: Sequence[int], provenance: Mapping[str, Any], root: Folder, hashes: ContentHashes
) -> dict[int, str]:
    """The fingerprint of each label that is to exist: the key frame's own (offset 0) and those asked for."""
    base = digest(provenance)
    wanted = {0: base}
    for far in (min(0, *offsets), max(0, *offsets)):
        chain = base
        for offset in clip.outward(far):
            chain = digest(chain, hashes.of(root / clip.image_at(offset)))
            if offset in offsets:
                wanted[offset] = chain
    return wanted


def _propagated(
    clip: Clip,
    missing: Sequence[int],
    wanted: Mapping[int, str],
    propagator: Propagator,
    root: Folder,
    classes: ClassTable,
) -> dict[int, Layer]:
    """Run the directions that have missing labels, each by itself, out to the farthest of them."""
    label = classes.to_train_ids(read_label(root / clip.fine), root / clip.fine)
    # The key frame's label is the annotation itself, never a prediction.
    layers = {0: Layer(label, wanted[0])} if 0 in missing else {}
    for far in (min(0, *missing), max(0, *missing)):
        if not far:
            continue
        outward = clip.outward(far)
        frames = _frames(clip, (0, *outward), root, label)
        for offset, made in zip(outward, propagator.propagate(label, frames), strict=True):
            if offset in missing:
                layers[offset] = Layer(made.label, wanted[offset], made.maps)
    return layers


def _frames(clip: Clip, offsets: Sequence[int], root: Folder, label: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for offset in offsets:
        path = root / clip.image_at(offset)
        frame = read_image(path)
        if frame.shape[:2] != label.shape:
            raise UserError(
                f"{path} is {frame.shape[1]}x{frame.shape[0]} but the annotation {clip.fine} is "
                f"{label.shape[1]}x{label.shape[0]}: bring a clip's frames and label to one size."
            )
        yield frame
