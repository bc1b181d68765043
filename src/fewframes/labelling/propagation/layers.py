"""What is kept of a label beside itself, for methods with an ignore policy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labelfile import Layer
from fewframes.core.labels import IGNORE
from fewframes.labelling.propagation import Propagated


def has_policy(made: Layer | Propagated) -> bool:
    """Whether what was made keeps what it was before a policy left some of it unclaimed."""
    return "object" in made.maps


def unfiltered(made: Layer | Propagated) -> NDArray[np.uint8]:
    """The label before a policy left some of it unclaimed, where its method has one; `uint8 [H, W]` train ids."""
    return labels_of(made.maps["object"], made.objects["train_id"]) if has_policy(made) else made.label


def labels_of(index: NDArray[np.int16], train_ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The label, `uint8 [H, W]`, of a map of objects' numbers by their train ids, `[N]`; 255 where it is -1."""
    return np.asarray(np.append(train_ids, IGNORE).astype(np.uint8)[index])  # -1 is the last


def before_policy(fingerprint: str) -> str:
    """The part of a label's fingerprint in which its policy has no part: what it was found by."""
    return fingerprint.partition("-")[0]
