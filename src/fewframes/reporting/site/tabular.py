"""Tables as the report shows them, made here or read back from the pages that `printing.html` writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.reporting.printing import GAP, MINUS, Column, Frames, Table

FRAMES = "◆■□"
"""Of the annotated frame, one with a pseudo-label and one that is not used, in this order."""

_NUMBER = re.compile(rf"[+{MINUS}-]?\d+(?:,\d{{3}})*(?:\.\d+)?")


@dataclass(frozen=True)
class Link:
    """A file beside the report, relative to it."""

    name: str
    href: str


@dataclass(frozen=True)
class Cell:
    """A cell's text, and the number it is sorted by, where its column is one of numbers."""

    text: str
    key: float | None = None

    @property
    def frames(self) -> str:
        """What a row of boxes says, in words; empty for other cells."""
        if not self.text or set(self.text) - set(FRAMES):
            return ""
        counts = (f"{self.text.count(mark)} {what}" for mark, what in zip(FRAMES, _MEANT, strict=True))
        return ", ".join(count for count in counts if not count.startswith("0 "))


_MEANT = ("annotated", "with a pseudo-label", "not used")


@dataclass(frozen=True)
class Shown:
    """A table that can be sorted: `columns`, `rows` of as many cells, what stands `below` it; `head` names a row."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    below: Sequence[str] = ()
    links: Sequence[Link] = ()
    head: int = 0

    def gap(self, row: Sequence[Cell]) -> bool:
        """Whether nothing of a row was run: of what its runs score, the columns that end in `mIoU`, it has gaps alone.

        Where there is none, as in a table of classes: it has gaps, and no number with decimals or runs behind it.
        """
        cells = [(cell.text, column) for cell, column in zip(row, self.columns, strict=True) if not column.words]
        if scores := [text for text, column in cells if column.heading.endswith("mIoU")]:
            return set(scores) == {GAP}
        texts = [text for text, _ in cells]
        return GAP in texts and not any("(" in text or "." in text for text in texts)

    @property
    def gaps(self) -> int:
        """The number of rows of which nothing was run."""
        return sum(map(self.gap, self.rows))


def shown(
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    below: Sequence[str] = (),
    links: Sequence[Link] = (),
    head: int | None = None,
) -> Shown:
    """A table of texts, each row named by the column `head`, or where it is not given by one called ID or the first.

    A column is sorted by numbers where each of its cells begins with one or is a gap."""
    numbers = [all(text in ("", GAP) or _NUMBER.match(text) for text in texts) for texts in zip(*rows, strict=True)]
    cells = [[Cell(text, _key(text) if n else None) for text, n in zip(row, numbers, strict=True)] for row in rows]
    if head is None:
        head = next((i for i, column in enumerate(columns) if column.heading == "ID"), 0)
    return Shown(title, columns, cells, below, links, head)


def from_printed(table: Table) -> Shown:
    """A table that was made to be printed."""
    rows = [[c.marks("□", "■", "◆") if isinstance(c, Frames) else c for c in row] for row in table.rows]
    return shown(table.title, table.columns, rows, [table.legend] if table.legend else [])


def read_printed(path: Path, note: str = "", links: Sequence[Link] = ()) -> Shown:
    """A table from the page that `printing.html` wrote of it, without the `note`, which the report has elsewhere.

    Raises `UserError` where the file is no such page.
    """
    try:
        page = _Page(path.read_text(encoding="utf-8"))
        columns = [Column(title, words=words) for title, words in page.columns]
        if not page.title or not columns:
            raise ValueError("no table")
        return shown(page.title, columns, page.rows, [text for text in page.below if text != note], links)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a printed table ({error}): make it again with `snakemake`.") from error


def _key(text: str) -> float | None:
    match = _NUMBER.match(text)
    return float(match[0].replace(MINUS, "-").replace(",", "")) if match else None


@dataclass
class _Page(HTMLParser):
    """Heading, columns (title, and whether of words), rows and paragraphs of a page with one table."""

    text: str
    title: str = ""
    columns: list[tuple[str, bool]] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    below: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._read, self._side = "", ""
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a row or a text."""
        if tag == "tr":
            self.rows.append([])
        if tag in ("h1", "th", "td", "p"):
            self._read, self._side = "", dict(attrs).get("style") or ""

    def handle_data(self, data: str) -> None:
        """Go on with a text."""
        self._read += data

    def handle_endtag(self, tag: str) -> None:
        """Keep a text; a row without cells was that of the headings."""
        text = self._read.strip()
        if tag == "h1":
            self.title = text
        elif tag == "th":
            self.columns.append((text, "right" not in self._side))
        elif tag == "td":
            self.rows[-1].append(text)
        elif tag == "p":
            self.below.append(text)
        elif tag == "tr" and not self.rows[-1]:
            self.rows.pop()
