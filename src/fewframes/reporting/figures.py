"""Figures: figure 4, the cost curve, and contact sheets of labelled images. Equal inputs give equal bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox, BboxBase
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.files import read_csv, written_whole
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.costs import read_cost
from fewframes.reporting.statistics import Grid, Spread, read_scores
from fewframes.reporting.tables import coarse_arms, experiment_of, read_definition

# Blue, vermilion and green of Okabe and Ito's palette, "Color Universal Design" (2008); each with a marker
# of its own, so that colour alone never tells two series apart.
STYLES = {
    "fine, propagated": ("#0072B2", "o", "-"),
    "coarse, non-refined": ("#009E73", "s", "--"),
    "coarse, refined": ("#D55E00", "^", "-"),
}
_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.markersize": 5,
    "pdf.fonttype": 42,
    "text.parse_math": False,  # names and notes from data may hold a dollar sign
}
_DPI = 200
_IGNORED, _STRIPE = 20, 190
"""Greys of unlabelled pixels and of the stripes across them, which no class has: Cityscapes' building is 70."""

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


def write_coarse_figure(
    definition: Path, catalogue: Mapping[str, Experiment], grid: Grid, out: Path, note: str = ""
) -> None:
    """Figure 4: mIoU against the share of coarse labels, refined and not, as `<out>.png` and `<out>.pdf`.

    `definition` is that of table 3. Bars are the standard deviation over runs; shares not run are absent.
    """
    read = read_definition(definition)
    with saved_figure(out, note) as (axes,):
        for arm, name in enumerate(("coarse, non-refined", "coarse, refined")):
            points: list[tuple[float, Spread]] = []
            for row in read.rows:
                experiment = coarse_arms(row, catalogue)[arm]
                points.append((experiment.coarse_percent, read_scores(grid, row["network"], experiment.id).miou))
            _plot(axes, name, points, joined=True)
        axes.set_xlabel("Coarse labels among the training samples (%)")
        axes.set_ylabel("mIoU (%)")
        axes.set_xlim(-4, 104)
        axes.set_xticks(range(0, 101, 10))
        _finish(axes)


def write_cost_curve(
    catalogue: Mapping[str, Experiment], grid: Grid, classes: ClassTable, network: str, out: Path, note: str = ""
) -> None:
    """mIoU against hours of annotation, one labelled point an experiment of the grid, for one network."""
    series: dict[str, list[tuple[float, Spread]]] = {name: [] for name in STYLES}
    named: list[tuple[str, str, float, float]] = []
    for id_ in grid.experiments:
        experiment = experiment_of(catalogue, id_)
        miou, cost = read_scores(grid, network, id_).miou, read_cost(grid, id_)
        if miou.mean is not None and cost:
            hours = cost.hours(classes.minutes)
            series[_series(experiment)].append((hours, miou))
            named.append((_short_name(experiment), _series(experiment), hours, miou.mean))
    with saved_figure(out, note, size=(6.4, 4.2)) as (axes,):
        for name, points in series.items():
            _plot(axes, name, points, joined=False)
        axes.set_xlabel("Annotation (hours)")
        axes.set_ylabel("mIoU (%)")
        axes.margins(x=0.08, y=0.1)
        axes.set_xlim(left=0)
        _finish(axes)
        _name_points(axes, named)


def write_quality_figure(tables: Sequence[Path], out: Path, note: str = "") -> None:
    """Quality of pseudo-labels by offset, a colour a method, from quality tables.

    On the left mIoU, on the claimed pixels (solid) and with the unclaimed counted wrong (dotted); on the
    right coverage.
    """
    rows = [
        row
        for path in tables
        for row in read_csv(path, ("method", "offset", "class", "coverage", "iou_claimed", "iou_all"))
        if row["class"] == "mean" and not row["offset"].startswith("±")
    ]
    with saved_figure(out, note, size=(6.4, 2.8), plots=2) as (left, right):
        styles = list(STYLES.values())
        for i, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
            colour, marker, _ = styles[i % len(styles)]
            mine = sorted((row for row in rows if row["method"] == method), key=lambda row: int(row["offset"]))
            offsets = [int(row["offset"]) for row in mine]
            for axes, column, line in ((left, "iou_claimed", "-"), (left, "iou_all", ":"), (right, "coverage", "-")):
                values = [float(row[column] or "nan") for row in mine]
                name = method if column == "iou_claimed" else None
                axes.plot(offsets, values, color=colour, marker=marker, markersize=3, linestyle=line, label=name)
        left.set_ylabel("mIoU (%)\ndotted: unclaimed counted wrong")
        right.set_ylabel("Coverage (%)")
        for axes in (left, right):
            axes.set_xlabel("Offset from the key frame (frames)")
        left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)


def _series(experiment: Experiment) -> str:
    if not experiment.coarse_percent:
        return "fine, propagated"
    return "coarse, refined" if experiment.labels == "refined" else "coarse, non-refined"


def _short_name(experiment: Experiment) -> str:
    """What a point is labelled: the paper's coarse mixtures by their share, whose series says the rest."""
    plain = (
        experiment.coarse_percent and not experiment.still and experiment.fine == "rest" and not experiment.refinement
    )
    return f"{experiment.coarse_percent} %" if plain else experiment.name


@contextmanager
def saved_figure(out: Path, note: str, size: tuple[float, float] = (4.6, 3.2), plots: int = 1) -> Iterator[list[Axes]]:
    """A figure of plots side by side, `size` in inches, saved on leaving, with the note in small print below."""
    with mpl.rc_context(_RC):
        figure = Figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(1, plots, squeeze=False)[0])
        if note:
            lines = textwrap.wrap(note, int(size[0] * 20))
            figure.supxlabel("\n".join(lines), fontsize=6, color="0.35", x=0.01, ha="left")
        yield axes
        _save(figure, out)


def _plot(axes: Axes, name: str, points: Sequence[tuple[float, Spread]], joined: bool) -> None:
    """The points that were run, in the style of their series; a bar where there is a spread to show."""
    run = sorted((x, s.mean, s.sd or 0.0, s.sd is not None) for x, s in points if s.mean is not None)
    if not run:
        return
    colour, marker, line = STYLES[name]
    x, mean, sd, spreads = map(np.array, zip(*run, strict=True))
    style = line if joined else "none"
    axes.plot(x, mean, marker=marker, color=colour, linestyle=style, linewidth=1, label=name)
    axes.errorbar(
        x[spreads], mean[spreads], sd[spreads], fmt="none", ecolor=colour, elinewidth=0.8, capsize=2, capthick=0.8
    )


def _finish(axes: Axes) -> None:
    """Legend above the plot; an empty plot says that it is."""
    if axes.lines:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, columnspacing=1.4)
    else:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no run is finished yet", transform=axes.transAxes, ha="center", color="0.35")


_DIRECTIONS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)])
_DISTANCES = (5, 10)
"""Where a point's name may stand, in points (1/72 inch) away from it: the first place that is free is taken."""


def _name_points(axes: Axes, named: Sequence[tuple[str, str, float, float]]) -> None:
    """Write each point's name (name, series, x, y) beside it, where it covers least of what is there already."""
    axes.figure.canvas.draw()
    point = axes.figure.dpi / 72
    pixels = [np.asarray(axes.transData.transform((x, y))) for *_, x, y in named]
    taken = [_box(pixel, np.full(2, 8 * point)) for pixel in pixels]
    for (name, series, x, y), pixel in zip(named, pixels, strict=True):
        look: Any = {"fontsize": 6.5, "color": STYLES[series][0], "ha": "center", "va": "center"}
        text = axes.annotate(name, (x, y), xytext=(0, 0), textcoords="offset points", **look)
        size = np.asarray(text.get_window_extent().size)
        shifts = [d * (distance * point + size / 2) for distance in _DISTANCES for d in _DIRECTIONS]
        boxes = [_box(pixel + shift, size) for shift in shifts]
        covered = [
            sum(_overlap(box, other) for other in taken) + size.prod() - _overlap(box, axes.bbox) for box in boxes
        ]
        # Rounded, so that what is free but for floating-point noise counts as free.
        chosen = int(np.argmin(np.round(covered, 3)))
        text.set_position(tuple(shifts[chosen] / point))
        taken.append(boxes[chosen])


def _box(centre: NDArray[np.float64], size: NDArray[np.float64]) -> Bbox:
    return Bbox([centre - size / 2, centre + size / 2])


def _overlap(a: BboxBase, b: BboxBase) -> float:
    both = Bbox.intersection(a, b)
    return both.width * both.height if both else 0.0


def overlay(
    image: NDArray[np.uint8], label: NDArray[np.uint8], classes: ClassTable, strength: float = 0.65
) -> NDArray[np.uint8]:
    """An image tinted with its label's colours, RGB `uint8 [H, W, 3]`.

    `image` is RGB of that shape, `label` train ids `[H, W]`. Borders of classes are drawn in white, so that
    classes part without their colours too; ignored pixels are dark and striped, the image showing through.
    """
    tinted = _tinted(image, label, classes.colour(label), strength)
    tinted[_borders(label, _line_width(label))] = 255
    return tinted


def confidence_overlay(
    image: NDArray[np.uint8], label: NDArray[np.uint8], confidence: NDArray[np.uint8], strength: float = 0.8
) -> NDArray[np.uint8]:
    """An image tinted with its label's confidence (`CONFIDENCE_COLOURS`), RGB `uint8 [H, W, 3]`.

    `image` is RGB of that shape, `label` train ids and `confidence` 0 to 255, both `[H, W]`. Ignored pixels are
    dark and striped, whatever their confidence.
    """
    return _tinted(image, label, CONFIDENCE_COLOURS[confidence], strength)


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
    picture_inches: float = 2.4,
) -> None:
    """A grid of pictures as `<out>.png` and `<out>.pdf`: each row a title and its pictures, all of one shape.

    A picture with a label is shown as its overlay. Where labels of a row have a confidence, it is shown below them,
    and below the others the image alone. The legend below names the classes that occur.
    """
    columns = max(len(pictures) for _, pictures in rows)
    height, width = rows[0][1][0].image.shape[:2]
    panel = picture_inches, picture_inches * height / width
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
    with mpl.rc_context(_RC):
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
            figure.text(gap / across, (0.05 + line * i) / down, text, fontsize=6, color="0.35")
        _save(figure, out)


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


def _save(figure: Figure, out: Path) -> None:
    """Save as PNG and PDF without dates or versions, so that equal figures are equal files."""
    unsaid = {".png": ("Software",), ".pdf": ("CreationDate", "Creator", "Producer")}
    for suffix, keys in unsaid.items():
        with written_whole(f"{out}{suffix}") as aside:
            figure.savefig(aside, dpi=_DPI, metadata=dict.fromkeys(keys))
