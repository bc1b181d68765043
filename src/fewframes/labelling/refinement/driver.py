"""Refinement of a shard: image by image, each found where it was made before, else made and kept at once.

A label file holds the refined label as its layer 0 and is named by the image and a fingerprint of all that it was
made from: image, coarse label, instances, method, settings, version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewframes.core.clips import LABEL_COLUMNS, Clip, Folder, read_shard
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, digest, write_csv
from fewframes.core.images import read_image, read_instances, read_label
from fewframes.core.labelfile import Layer, read_fingerprints, write_label_file
from fewframes.core.labels import ClassTable
from fewframes.core.progress import progress, say
from fewframes.core.stages import VERSIONS
from fewframes.labelling.refinement import Refined, Refiner, build_refiner


def refine_shard(
    shard: Path,
    method: str,
    settings: Mapping[str, Any],
    root: Folder,
    classes: ClassTable,
    results: Path,
    out: Path,
) -> None:
    """Refine the coarse label of every image of a shard, and write the shard's CSV of labels.

    `results` is the dataset's results folder: label files go to `refined/<method>/labels` below it.
    """
    refiner = build_refiner(method, settings, classes)
    known_by = {"method": method, "settings": refiner.settings, "version": VERSIONS["refine"]}
    hashes = ContentHashes(results / "hashes", f"refine-{method}-{shard.stem}")
    clips = [clip for clip, _ in read_shard(shard)]
    made = 0
    counts: Counter[str] = Counter()
    rows: list[list[object]] = []
    for clip in progress(clips, f"refine {method} {shard.stem}"):
        provenance = {
            **known_by,
            "clip": clip.id,
            "annotation": clip.coarse,
            "annotation_hash": hashes.of(root / clip.coarse),
            "instances_hash": hashes.of(root / clip.coarse_instances) if clip.coarse_instances else "",
            "image_hash": hashes.of(root / clip.image),
            "classes": [classes.label_digest, classes.refined],
        }
        fingerprint = digest(provenance)
        file = results / "refined" / method / "labels" / f"{clip.id}-{fingerprint}.h5"
        present = read_fingerprints(file)
        if present.get(0, ("", ""))[0] != fingerprint:
            refined = _refined(clip, refiner, root, classes)
            counts.update(refined.counts)
            write_label_file(file, {0: Layer(refined.label, fingerprint, refined.maps)}, provenance)
            present = read_fingerprints(file)
            made += 1
        rows.append([clip.id, 0, file.relative_to(results).as_posix(), *present[0]])
    hashes.save()
    became = "".join(f", {n} objects {what}" for what, n in sorted(counts.items()))
    say(f"refine {method} {shard.stem}: {made} images{became}; {len(clips) - made} images found as they were.")
    write_csv(out, LABEL_COLUMNS, rows)


def _refined(clip: Clip, refiner: Refiner, root: Folder, classes: ClassTable) -> Refined:
    image = read_image(root / clip.image)
    coarse = classes.to_train_ids(read_label(root / clip.coarse), root / clip.coarse)
    if image.shape[:2] != coarse.shape:
        raise UserError(
            f"{root / clip.coarse} and its image {clip.image} differ in size: make the label at its image's size."
        )
    instances = read_instances(root / clip.coarse_instances) if clip.coarse_instances else None
    return refiner.refine(image, coarse, instances)
