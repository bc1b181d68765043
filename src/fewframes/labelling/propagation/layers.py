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
    if not has_policy(made):
        return made.label
    train_ids = np.append(made.objects["train_id"], np.uint8(IGNORE))  # -1, no object, is the last
    return np.asarray(train_ids[made.maps["object"]], np.uint8)
