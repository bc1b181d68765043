"""Sheets of labelled images: labels and confidence over their pictures, and a legend of the classes that occur."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.reporting.figures.style import FAINT, RC, save

_IGNORED, _STRIPE = 20, 190
"""Greys of unlabelled pixels and of the stripes across them, which no class has: Cityscapes' building is 70."""

_INCHES = 2.4
"""Width of a picture."""

CONFIDENCE_COLOURS = (mpl.colormaps["viridis"](range(256), bytes=True))[:, :3]
"""`uint8 [256, 3]`, RGB by confidence. Viridis is perceptually even and its lightness rises throughout (van der Walt
and Smith, "A better default colormap for matplotlib", 2015): it can be read in grey, and without telling hues."""


@dataclass(frozen=True)
class Picture:
    """One picture of a contact sheet: `image` is RGB `uint8 [H, W, 3]`, `label` train ids `uint8 [H, W]`.

    `confidence` of the label, `uint8 [H, W]`, 255 for certain, is shown below it.
    """

    caption: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8] | None = None
    confidence: NDArray[np.uint8] | None = None


def overlay(image: NDArray[np.uint8], label: NDArray[np.uint8], classes: ClassTable) -> NDArray[np.uint8]:
    """An image tinted with its label's colours, RGB `uint8 [H, W, 3]`.

    `image` is RGB of that shape, `label` train ids `[H, W]`. Borders of classes are drawn in white, so that
    classes part without their colours too; ignored pixels are dark and striped, the image showing through.
    """
    tinted = _tinted(image, label, classes.colour(label), 0.65)
    tinted[_borders(label, _line_width(label))] = 255
    return tinted


def confidence_overlay(
    image: NDArray[np.uint8], label: NDArray[np.uint8], confidence: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """An image tinted with its label's confidence (`CONFIDENCE_COLOURS`), RGB `uint8 [H, W, 3]`.

    `image` is RGB of that shape, `label` train ids and `confidence` 0 to 255, both `[H, W]`. Ignored pixels are
    dark and striped, whatever their confidence.
    """
    return _tinted(image, label, CONFIDENCE_COLOURS[confidence], 0.8)


def _tinted(
    image: NDArray[np.uint8], label: NDArray[np.uint8], colours: NDArray[np.uint8], strength: float
) -> NDArray[np.uint8]:
    """The image in grey under `colours` `[H, W, 3]`, and under stripes where the label is ignore."""
    if image.shape[:2] != label.shape:
        raise ValueError(f"the image is {image.shape[:2]} and its label {label.shape}: they must be of one size")
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]  # luma of ITU-R BT.601
    rows, columns = np.indices(label.shape)
    striped = np.where((rows + columns) // _line_width(label) % 8 < 2, _STRIPE, _IGNORED)[..., None]
    shown = np.where((label == IGNORE)[..., None], striped, colours)
    return ((1 - strength) * grey + strength * shown).round().astype(np.uint8)


def _line_width(label: NDArray[np.uint8]) -> int:
    return max(1, round(label.shape[1] / 640))


def _borders(label: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    borders = np.zeros(label.shape, bool)
    borders[:, width:] |= label[:, width:] != label[:, :-width]
    borders[width:] |= label[width:] != label[:-width]
    return borders


def write_contact_sheet(
    rows: Sequence[tuple[str, Sequence[Picture]]],
    classes: ClassTable,
    out: Path,
    note: str = "",
) -> None:
    """A grid of pictures as `<out>.png` and `<out>.pdf`: each row a title and its pictures, all of one shape.

    A picture with a label is shown as its overlay. Where labels of a row have a confidence, it is shown below them,
    and below the others the image alone. The legend below names the classes that occur.
    """
    columns = max(len(pictures) for _, pictures in rows)
    height, width = rows[0][1][0].image.shape[:2]
    panel = _INCHES, _INCHES * height / width
    seen = [p.label for _, pictures in rows for p in pictures if p.label is not None]
    handles = _legend_handles(seen, classes)
    graded = [any(p.confidence is not None for p in pictures) for _, pictures in rows]
    gap, title, caption, line = 0.06, 0.24, 0.2, 0.15
    across = columns * panel[0] + (columns + 1) * gap
    in_line = max(1, int(across / 1.15))
    notes = textwrap.wrap(note, int(across * 20))
    lines = -(-len(handles) // in_line) + len(notes) + any(graded)
    foot = line * lines + (0.1 if handles else 0) + 0.04
    down = len(rows) * (title + panel[1] + caption) + sum(graded) * (panel[1] + gap) + foot
    with mpl.rc_context(RC):
        figure = Figure(figsize=(across, down))

        def show(shown: NDArray[np.uint8], left: float, bottom: float, size: tuple[float, float] = panel) -> None:
            axes = figure.add_axes((left / across, bottom / down, size[0] / across, size[1] / down))
            axes.set_axis_off()
            axes.imshow(shown, aspect="auto")

        top = down
        for (name, pictures), below in zip(rows, graded, strict=True):
            figure.text(gap / across, (top - title + 0.06) / down, name, weight="bold")
            first = top - title - panel[1]
            last = first - below * (gap + panel[1])
            for column, picture in enumerate(pictures):
                left = gap + column * (panel[0] + gap)
                upper, lower = _panels(picture, classes)
                show(upper, left, first)
                if below:
                    show(lower, left, last)
                figure.text(left / across, (last - 0.13) / down, picture.caption, fontsize=7)
            top = last - caption
        if handles:
            figure.legend(
                handles=handles,
                loc="upper left",
                bbox_to_anchor=(0, (top - 0.04) / down),
                ncols=in_line,
                fontsize=7,
                handlelength=1.2,
                handleheight=0.9,
                columnspacing=1.0,
                borderaxespad=0.2,
            )
        if any(graded):
            bar = 0.08 + line * len(notes)
            figure.text(gap / across, bar / down, "confidence 0", fontsize=7)
            show(CONFIDENCE_COLOURS[None], gap + 0.68, bar, (1.2, 0.09))
            figure.text((gap + 1.94) / across, bar / down, "1", fontsize=7)
        for i, text in enumerate(reversed(notes)):
            figure.text(gap / across, (0.05 + line * i) / down, text, fontsize=6, color=FAINT)
        save(figure, out)


def _panels(picture: Picture, classes: ClassTable) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What is shown of a picture: its label, and its confidence; the image alone where there is none."""
    image, label, confidence = picture.image, picture.label, picture.confidence
    if label is None:
        return image, image
    lower = image if confidence is None else confidence_overlay(image, label, confidence)
    return overlay(image, label, classes), lower


def _legend_handles(labels: Sequence[NDArray[np.uint8]], classes: ClassTable) -> list[Patch]:
    """A swatch a class that occurs, in the order of train ids; unlabelled comes last."""
    ids = ids_seen(labels, classes)
    handles = [
        Patch(color=tuple((classes.palette[i] / 255).tolist()), label=classes.names[i]) for i in ids if i != IGNORE
    ]
    if IGNORE in ids:
        dark, light = str(_IGNORED / 255), str(_STRIPE / 255)
        handles.append(Patch(facecolor=dark, edgecolor=light, hatch="/////", linewidth=0, label="unlabelled"))
    return handles


def ids_seen(labels: Sequence[NDArray[np.uint8]], classes: ClassTable) -> list[int]:
    """The train ids that occur in labels, ascending; raises `UserError` where one is not the class table's."""
    ids = np.flatnonzero(sum(np.bincount(label.ravel(), minlength=256) for label in labels)).tolist()
    if stray := [i for i in ids if len(classes.names) <= i < IGNORE]:
        raise UserError(
            f"The labels hold train id {stray[0]}, but the class table '{classes.name}' has {len(classes.names)} "
            "classes: choose the one that they were made with."
        )
    return ids
