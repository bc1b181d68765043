"""What to do about what a reader leaves out, by its reason."""

from __future__ import annotations

import difflib

from fewframes.core.labels import ClassTable

GAP = "frames beyond a gap"
"""How a reader's reason begins where a clip is cut because frames are missing between others."""

SEQUENCES = "Unpack the folder of sequences (Cityscapes: leftImg8bit_sequence), if there is one."

_UNKNOWN_LABEL = "polygon: unknown label "
_NAMES = "Rename them as the dataset names its files, or delete them: they are not read."
_TWICE = "Delete one of the two."
_ANNOTATIONS = "Unpack their annotations; where there are none, go on: they are not used."
_RELEASE = "Unpack images and sequences of one and the same release; without, those clips have no other frames."
_SPLITS = "Correct dataset.options.splits, or go on without them."
_COLOURS = "Look at them, and correct them or the class table's colours if more than a rim of pixels is concerned."

_MENDS = (
    ("annotated at another size", "Correct dataset.options.size, or leave it out to use the images of any size."),
    ("annotated frames without a sequence", f"{SEQUENCES} Without it they have no pseudo-labels and no memory."),
    ("annotated in two splits", _TWICE),
    ("annotation with ", "Set dataset.options.labels to the files that are there, or unpack the others."),
    ("annotation without image", "Unpack the images; where there are none, go on: the annotations are not used."),
    ("city without any annotation", _ANNOTATIONS),
    ("frames are missing at its ends", "Restore the frames if there are any, or go on with the shorter clips."),
    (GAP, "Restore the frames missing in between: a clip is used only as far as it has no gap."),
    ("frames nearer to a still of another split", "Go on: what is cut could leak from one split into another."),
    (
        "frames of no annotated frame's sequence",
        "Unpack the annotations they belong to, or go on without those frames.",
    ),
    ("image known to be corrupt", "Go on: it is broken in the dataset itself."),
    ("image without annotation", _ANNOTATIONS),
    ("in dataset.options.splits", _SPLITS),
    ("in none of dataset.options.splits", _SPLITS),
    ("its labels are not published", "Go on: there is nothing to score them by."),
    ("name", _NAMES),
    ("no frame number", _NAMES),
    ("no frame with a number", _NAMES),
    ("no picture, among frames", "Move them elsewhere, or go on: they are not read."),
    ("not named", _NAMES),
    ("pixels of a colour", _COLOURS),
    ("polygon: ", "Go on: the dataset's own tool does not draw them either."),
    ("sequence of another size", _RELEASE),
    ("sequence without annotation", _ANNOTATIONS),
    ("sequence without the annotated image", _RELEASE),
    ("there twice", _TWICE),
)
"""The mend of each reason, by how it begins."""


def mend_of(reason: str, classes: ClassTable) -> str:
    """What to do about what was left out for this reason, where the class table is `classes`."""
    if reason.startswith(_UNKNOWN_LABEL):
        known = [c.name for c in classes.classes if c.id >= 0]
        close = difflib.get_close_matches(reason.removeprefix(_UNKNOWN_LABEL).strip("'"), known, 1)
        table = f"'{classes.name}' knows {', '.join(close or known)}"
        return f"Correct the spelling in the annotations ({table}), or add the class to the table."
    mends = (mend for beginning, mend in _MENDS if reason.startswith(beginning))
    return next(mends, "They are not used; where they should be, restore what they lack.")
