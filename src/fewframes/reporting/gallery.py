"""A gallery of propagated labels, worst first: one HTML file that holds its pictures and opens from disk."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.clips import Clip, Folder
from fewframes.core.errors import UserError
from fewframes.core.files import write_text
from fewframes.core.images import read_label
from fewframes.core.labelfile import Layer, read_layer, read_provenance
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.metrics import claimed, confusion_matrix, iou_per_class, mean
from fewframes.core.progress import progress
from fewframes.labelling.methods import made_at_random
from fewframes.labelling.propagation.frames import read_frame
from fewframes.reporting.figures.sheets import CONFIDENCE_COLOURS, confidence_overlay, ids_seen, overlay
from fewframes.reporting.marks import MEANINGLESS
from fewframes.reporting.pictures import NOTHING_TO_SHOW, labels_by_clip

_WIDTH = 320
"""Pixels across a thumbnail; narrower frames stay as they are."""

_QUALITY = 80
"""Of the thumbnails as JPEGs, about 20 kB each: five make a card, two hundred cards 25 MB."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{head}
<ul class="legend" aria-label="What the colours mean">
{legend}
</ul>
</header>
<main>
{cards}
</main>
</body>
</html>
"""
_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 1rem; max-width: 104rem; font: 1rem/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 span { font-weight: normal; margin-left: .6em; }
header p { margin: .5rem 0; max-width: 60rem; }
.banner { background: #b00020; color: #fff; padding: .6rem .8rem; font-weight: bold; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; list-style: none; padding: 0; font-size: .85rem; }
.chip { display: inline-block; width: 1.1em; height: .8em; outline: 1px solid #888; margin: 0 .3em; }
article { margin: 1.4rem 0; content-visibility: auto; contain-intrinsic-size: auto 14rem; }
.row { display: flex; flex-wrap: wrap; gap: .6rem; }
figure { margin: 0; flex: 1 1 10rem; max-width: 20rem; display: grid; gap: .15rem; align-content: start; }
.pair { flex: 2 1 20rem; max-width: 40rem; grid-template-columns: 1fr 1fr; }
img { display: block; width: 100%; height: auto; }
figcaption { grid-column: 1 / -1; font-size: .85rem; font-variant-numeric: tabular-nums; }
"""


@dataclass(frozen=True)
class Excerpt:
    """Some cards of a gallery, as HTML, with its legend; `told` is what it says of the clips that it has itself.

    `marked`: its labels mean nothing.
    """

    title: str
    told: str
    cards: Sequence[str]
    legend: str
    marked: bool


@dataclass(frozen=True)
class _Grade:
    """Shares of all pixels: those claimed, and the mean confidence, where the unclaimed count as 0."""

    coverage: float
    confidence: float | None

    def __str__(self) -> str:
        sure = "" if self.confidence is None else f", mean confidence {self.confidence:.2f}"
        return f"coverage {100 * self.coverage:.1f} %{sure}"


@dataclass(frozen=True)
class _Ranked:
    """A clip, its label files by offset, the offsets farthest in each direction, and the mean grade at these."""

    clip: Clip
    files: Mapping[int, Path]
    far: tuple[int, ...]
    grade: _Grade


def write_gallery(
    clips: Iterable[Clip],
    labels: Path,
    root: Folder,
    truth_root: Folder | None,
    results: Path,
    classes: ClassTable,
    out: Path,
    *,
    most: int = 200,
    note: str = "",
) -> None:
    """Write the `most` worst clips of a method's labels as one HTML file, `out`: overlays, confidence and numbers.

    Worst is where the farthest labels, past and future, have the lowest mean confidence, unclaimed pixels counting
    as 0; where labels have no confidence, the lowest coverage. Truth has no part in the order; its mIoU is shown
    where `truth_root` has a frame's dense label. Raises `UserError` where no clip has labels, or a file is damaged.
    """
    made = labels_by_clip(labels, results)
    labelled = [clip for clip in clips if clip.id in made]
    if not labelled:
        raise UserError(NOTHING_TO_SHOW)
    ranked = [_rank(clip, made[clip.id]) for clip in progress(labelled, "gallery: clips ranked")]
    graded = all(one.grade.confidence is not None for one in ranked)
    ranked.sort(key=lambda one: ((one.grade.confidence if graded else one.grade.coverage) or 0.0, one.clip.id))
    shown = ranked[:most]
    cards = _Cards(root, truth_root, classes)
    drawn = [cards.card(place, one) for place, one in enumerate(progress(shown, "gallery: clips drawn"), 1)]
    method = read_provenance(ranked[0].files[ranked[0].far[0]]).get("method", "an unknown method")
    by = "mean confidence first, over all pixels, where an unclaimed one counts as 0" if graded else "coverage first"
    head = [
        f"<p>{len(shown)} of {len(ranked)} clips, those of the lowest {by}. They are ordered by their farthest labels "
        "in the past and the future, which stand beside the annotated frame.</p>"
    ]
    if any(made_at_random(file) for one in ranked for file in one.files.values()):
        head.insert(0, f'<p class="banner">{MEANINGLESS}</p>')
    if note:
        head.append(f"<p>{html.escape(note)}</p>")
    page = _PAGE.format(
        title=html.escape(f"Labels by {method}, worst first"),
        style=_STYLE,
        head="\n".join(head),
        legend="\n".join(cards.legend()),
        cards="\n".join(drawn),
    )
    write_text(out, page)


def read_gallery(path: Path, most: int) -> Excerpt:
    """At most so many cards of a gallery that `write_gallery` wrote, evenly from its first to its last.

    Raises `UserError` where it is none.
    """
    try:
        page = path.read_text(encoding="utf-8")
        title, told, legend = (
            page[(first := page.index(start) + len(start)) : page.index(end, first)]
            for start, end in (("<title>", "</title>"), ("<p>", "</p>"), ('<ul class="legend"', "</header>"))
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no gallery of labels ({error}): make it again with `snakemake`.") from error
    cards = [f"<article{card.partition('</article>')[0]}</article>" for card in page.split("<article")[1:]]
    places = sorted({round(i * (len(cards) - 1) / max(1, most - 1)) for i in range(most)}) if cards else []
    marked = '<p class="banner">' in page
    shown = [cards[i] for i in places]
    return Excerpt(html.unescape(title), html.unescape(told), shown, f'<ul class="legend"{legend}', marked)


def _rank(clip: Clip, files: Mapping[int, Path]) -> _Ranked:
    far = tuple(sorted({min(files), max(files)} - {0}))
    grades = [_grade(read_layer(files[offset], offset, maps=("confidence",))) for offset in far]
    sure = [grade.confidence for grade in grades if grade.confidence is not None]
    confidence = sum(sure) / len(sure) if len(sure) == len(grades) else None
    return _Ranked(clip, files, far, _Grade(sum(grade.coverage for grade in grades) / len(grades), confidence))


def _grade(layer: Layer) -> _Grade:
    chosen = layer.label != IGNORE
    confidence = layer.maps.get("confidence")
    sure = None if confidence is None else float(confidence[chosen].sum(dtype=np.int64)) / 255 / confidence.size
    return _Grade(float(chosen.mean()), sure)


@dataclass
class _Cards:
    """Draws clips, and keeps in mind what the legend must explain: the train ids `seen`, and any confidence."""

    root: Folder
    truth_root: Folder | None
    classes: ClassTable
    seen: set[int] = field(default_factory=set)
    graded: bool = False

    def card(self, place: int, one: _Ranked) -> str:
        """A clip as HTML: its farthest labels with the key frame's between them."""
        name = html.escape(one.clip.id)
        figures = "\n".join(self._figure(one, offset) for offset in sorted({*one.far, *({0} & one.files.keys())}))
        return (
            f'<article id="{name}">\n<h2>{place}. {name} <span>{one.grade}</span></h2>\n'
            f'<div class="row">\n{figures}\n</div>\n</article>'
        )

    def legend(self) -> list[str]:
        """A chip a class that occurs, then the stripes of what is unlabelled, and the scale of confidence."""
        chips = [
            (f"rgb{tuple(self.classes.palette[i].tolist())}", html.escape(self.classes.names[i]))
            for i in sorted(self.seen - {IGNORE})
        ]
        if IGNORE in self.seen:
            chips.append(("repeating-linear-gradient(135deg, #141414 0 3px, #bebebe 3px 4px)", "unlabelled"))
        items = [f'<li><span class="chip" style="background: {look}"></span>{name}</li>' for look, name in chips]
        if self.graded:
            stops = ", ".join(f"rgb{tuple(colour)}" for colour in CONFIDENCE_COLOURS[::17].tolist())
            look = f"background: linear-gradient(90deg, {stops}); width: 6em"
            items.append(f'<li>confidence 0<span class="chip" style="{look}"></span>1</li>')
        return items

    def _figure(self, one: _Ranked, offset: int) -> str:
        layer = read_layer(one.files[offset], offset, maps=("confidence",))
        self.seen |= set(ids_seen([layer.label], self.classes))
        image = read_frame(self.root / one.clip.image_at(offset), layer.label.shape)
        size = _thumbnail_size(layer.label)
        small, label = _resized(image, size, Image.Resampling.BOX), _resized(layer.label, size)
        when = f"{offset:+d} frames" if offset else "annotated frame"
        where = f"{html.escape(one.clip.id)}, {when}"
        pictures = [_img(overlay(small, label, self.classes), f"{where}: labels over the image")]
        confidence = layer.maps.get("confidence")
        if confidence is not None:
            self.graded = True
            tinted = confidence_overlay(small, label, _resized(confidence, size))
            pictures.append(_img(tinted, f"{where}: confidence of the labels"))
        caption = f"{when}: {_grade(layer)}{self._truth(one.clip, offset, layer.label)}" if offset else when
        kind = ' class="pair"' if len(pictures) > 1 else ""
        return f"<figure{kind}>\n{''.join(pictures)}\n<figcaption>{caption}</figcaption>\n</figure>"

    def _truth(self, clip: Clip, offset: int, label: NDArray[np.uint8]) -> str:
        """What a frame's dense label, where there is one, says of the claimed pixels."""
        relative = clip.truth_at(offset)
        if self.truth_root is None or not relative or not (path := self.truth_root / relative).is_file():
            return ""
        truth = self.classes.to_train_ids(read_label(path), path)
        if truth.shape != label.shape:
            raise UserError(f"{path} is not of its frame's size: bring frames and dense labels to one size.")
        miou = mean(iou_per_class(claimed(confusion_matrix(truth, label, len(self.classes.names)))))
        return "" if math.isnan(miou) else f", true mIoU (claimed) {100 * miou:.1f} %"


def _thumbnail_size(label: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height."""
    height, width = label.shape
    across = min(_WIDTH, width)
    return across, max(1, round(height * across / width))


def _resized(
    pixels: NDArray[np.uint8], size: tuple[int, int], how: Image.Resampling = Image.Resampling.NEAREST
) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize(size, how))


def _img(pixels: NDArray[np.uint8], alt: str) -> str:
    """A picture as an HTML element that holds it; `alt` is HTML already."""
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "JPEG", quality=_QUALITY)
    data = base64.b64encode(packed.getvalue()).decode("ascii")
    height, width = pixels.shape[:2]
    return f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{alt}">'
