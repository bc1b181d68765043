"""What methods share that refine one image at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core.images import check_size, read_image
from fewframes.labelling.refinement import CoarseImage, Refined


class OneByOne(ABC):
    """A `Refiner` out of a method `refine` that knows one image; it needs no weights."""

    notes: Mapping[str, Any] = {}
    random_weights = False

    @abstractmethod
    def refine(
        self, image: NDArray[np.uint8], coarse: NDArray[np.uint8], instances: NDArray[np.int32] | None
    ) -> Refined:
        """Refine one label.

        `image` is RGB `uint8 [H, W, 3]`, `coarse` its label, `uint8 [H, W]` train ids, `instances` its
        instance map, `int32 [H, W]`, where the dataset has one.
        """

    def refine_all(self, images: Iterable[CoarseImage]) -> Iterator[tuple[int, Refined]]:
        """See `Refiner`."""
        for position, one in enumerate(images):
            yield position, self.refine(read_of_size(one.image, one.coarse.shape), one.coarse, one.instances)


def read_of_size(path: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """An image, RGB `uint8 [H, W, 3]`; raises `UserError` where it is not of `size`, its label's."""
    image = read_image(path)
    check_size(path, image.shape, size, "its coarse label is", "make the label at its image's size")
    return image
