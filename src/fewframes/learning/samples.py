"""From a manifest to batches: which samples, their frames and labels, in which order, augmented how.

Everything random is drawn from generators keyed by the training's seed and the place in it (iteration and
slot), never from a running state: batch 17,000 is the same whether the training was resumed at 16,999 or not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewframes.core.clips import Folder
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, is_there, read_csv
from fewframes.core.images import image_size, read_image, read_label
from fewframes.core.labelfile import Layer, made_layers, read_label_layer
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.experiments.manifests import sample_fingerprint
from fewframes.learning.augmentation import Batch, Recipe

_COLUMNS = ("clip", "offset", "source", "image", "label", "fingerprint")
_CORRECTED = "corrected-"
"""How a row's source begins whose label a person corrected."""
_ORDER, _SAMPLE = 0, 1
"""First key of the generators, so that no two uses share one."""


@dataclass(frozen=True)
class Sample:
    """A row of a manifest: an image with the frames before it (oldest first) and its label.

    `image` and `memory` are relative to the dataset's root. The label is an index PNG of native ids there, or,
    where the source names a method (`pseudo:flow`), the layer `offset` of a label file below the labels' root.
    """

    clip: str
    offset: int
    source: str
    image: str
    memory: tuple[str, ...]
    label: str
    fingerprint: str

    @property
    def in_label_file(self) -> bool:
        """Whether the label was made by a method, not drawn by a person."""
        return ":" in self.source


def label_known_by(
    sample: Sample,
    layers: Mapping[int, tuple[str, str]],
    label: Callable[[], NDArray[np.uint8]],
    content: Callable[[], str],
) -> str:
    """What a manifest knows a label by: a made one's fingerprint, a corrected one's pixels, a drawn one's file.

    `layers` are fingerprint and checksum by offset of its label file; empty where it has none, as the answer is where
    there is no such layer. `label` reads it, `uint8 [H, W]` train ids, and `content` its file's content hash.
    """
    if sample.in_label_file:
        return layers.get(sample.offset, ("", ""))[0]
    return Layer(label(), "").checksum if sample.source.startswith(_CORRECTED) else content()


def read_manifest(path: str | Path) -> list[Sample]:
    """The samples of a manifest in their order; raises `UserError` where it is empty or damaged."""
    samples = []
    for row in read_csv(path, _COLUMNS):
        slots = sum(column.startswith("memory_") for column in row if column)
        try:
            memory = tuple(row[f"memory_{i + 1}"] for i in range(slots))
            sample = Sample(
                clip=row["clip"],
                offset=int(row["offset"]),
                source=row["source"],
                image=row["image"],
                memory=memory,
                label=row["label"],
                fingerprint=row["fingerprint"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}): delete it and run `snakemake` again.") from error
        samples.append(sample)
    if not samples:
        raise UserError(f"{path} lists no sample: check that its scheme picks any clip of this dataset.")
    return samples


class SampleReader:
    """Reads the frames and labels of samples, from memory where `keep` found room for them."""

    def __init__(self, dataset_root: Folder, labels_root: str | Path, classes: ClassTable) -> None:
        self._dataset_root = dataset_root
        self._labels_root = Path(labels_root)
        self._classes = classes
        self._images: dict[str, NDArray[np.uint8]] = {}
        self._labels: dict[tuple[str, int], NDArray[np.uint8]] = {}

    def __call__(self, sample: Sample) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
        """The frames, oldest first and the current one last, RGB `uint8 [H, W, 3]`; the label, `uint8 [H, W]`.

        Raises `UserError` where a file is absent or damaged, or a size or id does not fit.
        """
        label = self.label(sample)
        return self.frames(sample, label), label

    def frames(self, sample: Sample, label: NDArray[np.uint8], rows: int | None = None) -> list[NDArray[np.uint8]]:
        """The frames alone, of the size of `label`; with `rows`, what lies below so many may be 0 (see `read_image`).

        Raises `UserError` where a file is absent or damaged, or of another size.
        """
        paths = [*sample.memory, sample.image]
        decoded = {path: self._image(path, rows) for path in dict.fromkeys(paths)}
        size = decoded[sample.image].shape
        for path, image in decoded.items():
            if image.shape != size:
                raise UserError(
                    f"{self._dataset_root / path} is {_sides(image)} pixels and {sample.image} of the same clip "
                    f"{_sides(decoded[sample.image])}: scale them to one size."
                )
        if label.shape != size[:2]:
            raise UserError(
                f"{self._label_path(sample)} is {_sides(label)} pixels and its image {sample.image} "
                f"{_sides(decoded[sample.image])}: scale one to the other's size."
            )
        return [decoded[path] for path in paths]

    def label(self, sample: Sample) -> NDArray[np.uint8]:
        """The label alone, `uint8 [H, W]` train ids; raises `UserError` where it is absent, damaged or of other ids."""
        kept = self._labels.get((sample.label, sample.offset))
        if kept is not None:
            return kept
        path = self._label_path(sample)
        if not sample.in_label_file:
            return self._classes.to_train_ids(read_label(path), path)
        label = read_label_layer(path, sample.offset)
        count = len(self._classes.names)
        if ((label >= count) & (label != IGNORE)).any():
            raise UserError(f"{path} holds train ids beyond the {count} classes: delete it and run `snakemake` again.")
        return label

    def check_files(self, samples: Iterable[Sample], hashes: ContentHashes | None = None) -> None:
        """Raise `UserError` for the first file that is gone: better now than after hours of training.

        With `hashes`, also for the first sample, as `read_manifest` has it, whose files are no longer those that the
        manifest was written of.
        """
        samples = list(samples)
        paths: dict[Path, None] = {}
        for sample in samples:
            paths.update({self._dataset_root / p: None for p in (*sample.memory, sample.image)})
            paths[self._label_path(sample)] = None
        for path in paths:
            if not is_there(path):
                raise UserError(
                    f"{path} is named in the manifest and does not exist: restore it, or have the dataset looked at "
                    "anew by `snakemake --forcerun prepare plan`."
                )
        if hashes is None:
            return
        offsets: dict[Path, set[int]] = {}
        for sample in samples:
            if sample.in_label_file:
                offsets.setdefault(self._label_path(sample), set()).add(sample.offset)
        made = {path: made_layers(path, wanted) for path, wanted in offsets.items()}
        for sample in samples:
            if self._fingerprint(sample, hashes, made) != sample.fingerprint:
                raise UserError(
                    f"{self._dataset_root / sample.image}, a frame before it or its label {self._label_path(sample)} "
                    "has changed since the manifest was written: run `snakemake` again."
                )

    def _fingerprint(
        self, sample: Sample, hashes: ContentHashes, made: Mapping[Path, Mapping[int, tuple[str, str]]]
    ) -> str:
        """What a manifest written now would say of the sample."""
        path = self._label_path(sample)
        known_by = label_known_by(sample, made.get(path, {}), lambda: self.label(sample), lambda: hashes.of(path))
        return sample_fingerprint([self._dataset_root / p for p in (sample.image, *sample.memory)], known_by, hashes)

    def keep(self, samples: Sequence[Sample], megabytes: float) -> bool:
        """Hold all samples decoded, if (by the first one's size) they fit; returns whether they do."""
        images = {path for s in samples for path in (*s.memory, s.image)}
        height, width = image_size(self._dataset_root / samples[0].image)
        if (3 * len(images) + len(samples)) * height * width > megabytes * 2**20:
            return False
        for sample in samples:
            self._images.update({path: self._image(path) for path in (*sample.memory, sample.image)})
            self._labels[sample.label, sample.offset] = self.label(sample)
        return True

    def _image(self, path: str, rows: int | None = None) -> NDArray[np.uint8]:
        kept = self._images.get(path)
        return read_image(self._dataset_root / path, rows) if kept is None else kept

    def _label_path(self, sample: Sample) -> Path:
        if sample.in_label_file:
            return self._labels_root / sample.label
        return self._dataset_root / sample.label


class Batches:
    """The batches of a training, by iteration: any can be made without those before it.

    Of several processes that share each batch, `size` samples, the one numbered `rank` makes every `of`-th.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        reader: SampleReader,
        recipe: Recipe,
        size: int,
        seed: int,
        rank: int = 0,
        of: int = 1,
    ) -> None:
        self._slots = range(rank, size, of)
        self._samples = samples
        self._reader = reader
        self._recipe = recipe
        self._size = size
        self._seed = seed

    def made(self, iteration: int) -> Batch:
        """The batch of an iteration."""
        count, crop = len(self._slots), self._recipe.crop
        frames = np.empty((count, len(self._samples[0].memory) + 1, *crop, 3), np.uint8)
        labels, filled = np.empty((count, *crop), np.uint8), np.empty((count, 2), np.int64)
        for place, slot in enumerate(self._slots):
            sample = self._samples[self.index(iteration, slot)]
            rng = np.random.default_rng((self._seed, _SAMPLE, iteration, slot))
            label = self._reader.label(sample)
            view = self._recipe.view(label, rng)
            # The view is known before the frames are read: none is decoded below it.
            images = self._reader.frames(sample, label, view.rows)
            self._recipe.render(view, images, label, rng, frames[place], labels[place])
            filled[place] = view.size
        return Batch(frames, labels, filled)

    def names(self, iteration: int) -> list[str]:
        """The images of this process in the batch of an iteration."""
        return [self._samples[self.index(iteration, slot)].image for slot in self._slots]

    def index(self, iteration: int, slot: int) -> int:
        """Which sample a slot holds: every epoch is a permutation of its own, and a batch may span two."""
        epoch, place = divmod(iteration * self._size + slot, len(self._samples))
        return int(_permutation(self._seed, epoch, len(self._samples))[place])


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(count)


def _sides(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
