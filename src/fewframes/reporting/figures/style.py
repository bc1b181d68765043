"""How every figure looks: for print, and for those who tell few colours apart."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewframes.core.files import written_whole

Look = tuple[str, str, str]
"""Colour, marker and line of a series."""

# Of Okabe and Ito's palette, "Color Universal Design" (2008); each with a marker of its own, so that colour alone never
# tells two series apart.
BLUE: Look = ("#0072B2", "o", "-")
GREEN: Look = ("#009E73", "s", "--")
VERMILION: Look = ("#D55E00", "^", "-")
BLACK: Look = ("#000000", "D", "-")

METHODS: tuple[Look, ...] = (BLUE, GREEN, VERMILION)
"""Looks of methods, in the order in which they come."""

FAINT = "0.35"
"""The grey of small print."""

RC: Any = {
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


@contextmanager
def saved_figure(
    out: Path, note: str, size: tuple[float, float] = (4.6, 3.2), rows: int = 1, columns: int = 1
) -> Iterator[list[Axes]]:
    """A figure of `rows` times `columns` plots, row by row, saved on leaving as `<out>.png` and `<out>.pdf`.

    `size` is width and height in inches; the note stands in small print below.
    """
    with mpl.rc_context(RC):
        figure = Figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        if note:
            lines = textwrap.wrap(note, int(size[0] * 20))
            figure.supxlabel("\n".join(lines), fontsize=6, color=FAINT, x=0.01, ha="left")
        yield axes
        save(figure, out)


def legend_above(axes: Axes, handles: Sequence[Artist]) -> None:
    """The legend of all the plots of a figure, above them, in lines as long as the figure is wide."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    across = max(1, int(figure.get_figwidth() / max(0.5 + 0.062 * len(str(h.get_label())) for h in handles)))
    figure.legend(handles=handles, loc="outside upper left", ncols=across, columnspacing=1.4)


def save(figure: Figure, out: Path) -> None:
    """Save as PNG and PDF without dates or versions, so that equal figures are equal files."""
    unsaid = {".png": ("Software",), ".pdf": ("CreationDate", "Creator", "Producer")}
    for suffix, keys in unsaid.items():
        # In memory first: of a full disk the writer of PDFs, closing its file, says something else.
        drawn = io.BytesIO()
        figure.savefig(drawn, format=suffix[1:], dpi=_DPI, metadata=dict.fromkeys(keys))
        with written_whole(f"{out}{suffix}") as aside:
            aside.write_bytes(drawn.getbuffer())
