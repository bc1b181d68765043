"""Tables as they are printed: CSV, Markdown, LaTeX and HTML, and how scores and verdicts are put into cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from tabulate import tabulate

from fewframes.core.files import write_csv, write_text
from fewframes.reporting.statistics import Scores, Spread
from fewframes.reporting.verdicts import Comparison

MINUS = "\N{MINUS SIGN}"
"""What stands before a negative number in print."""

_PAGE = """<!doctype html><meta charset="utf-8"><style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1em 2em }
h1 { font-size: 1.2em } p { color: #555; max-width: 75em }
table { border-collapse: collapse; border-block: 2px solid } th { border-bottom: 1px solid }
th, td { padding: .2em .7em; white-space: nowrap; vertical-align: top }
.prose { max-width: 110em } .prose td:not([style]) { white-space: normal }
</style>
"""
_PREAMBLE = r"""% Needs \usepackage{adjustbox,amssymb,booktabs,xcolor}; the three marks may be redefined before.
\providecommand{\unusedframe}{$\square$}
\providecommand{\pseudoframe}{$\blacksquare$}
\providecommand{\manualframe}{\textcolor[HTML]{009E73}{$\blacksquare$}}
"""


@dataclass(frozen=True)
class Frames:
    """Which offsets of a clip are trained on, shown over the offsets `first` … `last`."""

    offsets: tuple[int, ...]
    first: int
    last: int

    def marks(self, unused: str, pseudo: str, manual: str) -> str:
        """One mark an offset; the annotated frame is the one at offset 0."""
        used = {offset: pseudo if offset else manual for offset in self.offsets}
        return "".join(used.get(offset, unused) for offset in range(self.first, self.last + 1))


Cell = str | Frames
"""What a printed cell holds: plain text, not yet escaped, or the boxes of the frames used."""

GAP = "—"
"""What stands for a number that is not there."""


@dataclass(frozen=True)
class Column:
    """A printed column's heading, the `group` of columns it stands in, and whether it holds words, not numbers."""

    title: str
    group: str = ""
    words: bool = False

    @property
    def side(self) -> str:
        """Where its cells stand: words to the left, numbers to the right."""
        return "left" if self.words else "right"

    @property
    def heading(self) -> str:
        """Group and title in one line."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True)
class Table:
    """A table with its numbers (`csv`: header and rows) and as it is printed."""

    title: str
    legend: str
    csv: tuple[Sequence[str], Sequence[Sequence[object]]]
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def write_printed(table: Table, out: Path, note: str = "") -> None:
    """Write `<out>.csv`, `.md`, `.tex` and `.html`, with the note below the table."""
    write_csv(f"{out}.csv", *table.csv)
    write_text(f"{out}.md", markdown(table, note))
    write_text(f"{out}.tex", latex(table, note))
    write_text(f"{out}.html", html(table, note))


def for_csv(value: float | None, decimals: int = 2) -> str:
    """A number of the CSV: `decimals` 0 is a count, two decimals where it is fractional; empty where none."""
    if value is None:
        return ""
    return f"{value:.0f}" if decimals == 0 and float(value).is_integer() else f"{value:.2f}"


def for_print(value: float | None, decimals: int) -> str:
    """A number as it is printed; a count that is fractional (a mean over draws) shows one decimal."""
    if value is None:
        return GAP
    return f"{value:.{decimals or int(not float(value).is_integer())}f}"


def signed(value: float) -> str:
    """A difference as it is printed, with its sign; what rounds to zero has none."""
    rounded = f"{value:+.2f}"
    return "0.00" if float(rounded) == 0 else rounded.replace("-", MINUS)


@dataclass(frozen=True)
class Part:
    """What a row says in neighbouring columns: `names` and `numbers` in the CSV, `columns` and `cells` in print."""

    names: Sequence[str]
    numbers: Sequence[object]
    columns: Sequence[Column]
    cells: Sequence[Cell]


def table_of(title: str, legend: str, rows: Sequence[Sequence[Part]]) -> Table:
    """A table of rows whose parts have the same columns; there is at least one row."""
    header = [name for part in rows[0] for name in part.names]
    numbers = [[value for part in row for value in part.numbers] for row in rows]
    columns = [column for part in rows[0] for column in part.columns]
    return Table(title, legend, (header, numbers), columns, [[c for part in row for c in part.cells] for row in rows])


def words(name: str, title: str, value: str) -> Part:
    """A column of words."""
    return Part([name], [value], [Column(title, words=True)], [value])


def figure(name: str, column: Column, value: float | None, decimals: int) -> Part:
    """A column of numbers."""
    return Part([name], [for_csv(value, decimals)], [column], [for_print(value, decimals)])


def scores_part(scores: Scores, prefix: str = "", group: str = "") -> Part:
    """mIoU and mAcc; the CSV's columns begin with `prefix`."""
    names = [f"{score}_{measure}" for score in ("mIoU", "mAcc") for measure in ("mean", "sd", "sd_draws", "sd_seeds")]
    spreads = (scores.miou, scores.macc)
    values = [for_csv(v) for s in spreads for v in (s.mean, s.sd, s.sd_draws, s.sd_seeds)]
    # The number of runs is the same for both: it is printed once.
    n = f" ({scores.miou.n})" if scores.miou.n else ""
    return Part(
        [prefix + name for name in (*names, "n", "draws", "seeds")],
        [*values, scores.miou.n, scores.miou.draws, scores.miou.seeds],
        [Column("mIoU", group), Column("mAcc", group)],
        [spread_text(scores.miou) + n, spread_text(scores.macc)],
    )


def verdict_part(compared: Comparison | None, name: str, column: Column) -> Part:
    """A difference of mIoU with its interval and verdict; the CSV's columns begin with `name`."""
    numbers: list[object] = [""] * 4
    if compared:
        numbers = [*map(for_csv, (compared.difference, compared.low, compared.high)), compared.verdict]
    names = [f"{name}_{measure}" for measure in ("difference", "low", "high", "verdict")]
    return Part(names, numbers, [column], [verdict_text(compared)])


def verdict_text(compared: Comparison | None) -> str:
    """A comparison as it is printed."""
    return f"{difference_text(compared)}, {compared.verdict}" if compared else GAP


def difference_text(compared: Comparison) -> str:
    """A difference and its interval as they are printed."""
    if compared.low is None or compared.high is None:
        return signed(compared.difference)
    return f"{signed(compared.difference)} ({signed(compared.low)} to {signed(compared.high)})"


def paper_part(scores: Scores, paper: float | None, prefix: str, column: Column) -> Part:
    """The paper's mIoU and ours minus it, as far as there are both; the CSV's columns begin with `prefix`."""
    numbers, cell = ["", ""], GAP
    if paper is not None and scores.miou.mean is not None:
        numbers = [for_csv(paper), for_csv(scores.miou.mean - paper)]
        cell = f"{paper:.2f} ({signed(scores.miou.mean - paper)})"
    return Part([f"{prefix}paper_mIoU", f"{prefix}paper_difference"], numbers, [column], [cell])


def spread_text(spread: Spread) -> str:
    """A mean and its deviation as they are printed, without the number of runs."""
    return for_print(spread.mean, 2) + (f" ± {spread.sd:.2f}" if spread.sd is not None else "")


def markdown(table: Table, note: str = "") -> str:
    """The table in Markdown, with its legend and the note below."""
    header = [_markdown(column.heading) for column in table.columns]
    cells = [[_cell(c, _markdown, ("□", "■", "◆")) for c in row] for row in table.rows]
    body = tabulate(cells, header, tablefmt="pipe", disable_numparse=True, colalign=_sides(table))
    parts = [f"**{_markdown(table.title)}**", body, _markdown(table.legend), _markdown(note)]
    return "\n\n".join(filter(None, parts)) + "\n"


def html(table: Table, note: str = "", prose: bool = False) -> str:
    """The table as a small page of its own, for the report; where cells are `prose`, their lines are broken."""
    header = [column.heading for column in table.columns]
    cells = [[_cell(c, str, ("□", "■", "◆")) for c in row] for row in table.rows]
    body = tabulate(cells, header, tablefmt="html", disable_numparse=True, colalign=_sides(table))
    below = "".join(f"<p>{escape(text)}</p>" for text in (table.legend, note) if text)
    if prose:
        body = body.replace("<table>", '<table class="prose">', 1)
    return f"{_PAGE}<h1>{escape(table.title)}</h1>{body}{below}\n"


def latex(table: Table, note: str = "") -> str:
    """The table as a LaTeX float in booktabs' manner, with its legend and the note below."""
    marks = (r"\unusedframe", r"\pseudoframe", r"\manualframe")
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.title)}}}"]
    lines += [r"\begin{adjustbox}{max width=\textwidth}"]
    lines += [rf"\begin{{tabular}}{{{''.join(side[0] for side in _sides(table))}}}", r"\toprule"]
    lines += _latex_groups([column.group for column in table.columns])
    lines += [_latex_row([_latex(column.title) for column in table.columns]), r"\midrule"]
    for i, row in enumerate(table.rows):
        if i and row[0] != table.rows[i - 1][0]:
            lines.append(r"\midrule")
        lines.append(_latex_row([_cell(c, _latex, marks) for c in row]))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}", ""]
    lines += [rf"{{\footnotesize {_latex(text)}\par}}" for text in (table.legend, note) if text]
    return _PREAMBLE + "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_groups(groups: Sequence[str]) -> list[str]:
    """The row of headings over several columns, and the rules below them; nothing where there is none."""
    spans: list[tuple[str, int, int]] = []
    for i, group in enumerate(groups, start=1):
        if spans and group == spans[-1][0]:
            spans[-1] = (group, spans[-1][1], i)
        else:
            spans.append((group, i, i))
    if not any(group for group, _, _ in spans):
        return []
    heads = [rf"\multicolumn{{{last - first + 1}}}{{c}}{{{_latex(group)}}}" for group, first, last in spans]
    rules = " ".join(rf"\cmidrule(lr){{{first}-{last}}}" for group, first, last in spans if group)
    return [_latex_row(heads), rules]


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell, escaped: Callable[[str], str], marks: tuple[str, str, str]) -> str:
    return cell.marks(*marks) if isinstance(cell, Frames) else escaped(cell)


def _sides(table: Table) -> list[str]:
    return [column.side for column in table.columns]


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    MINUS: "$-$",
    "—": "---",
    "…": r"\ldots{}",
    "□": r"\unusedframe{}",
    "■": r"\pseudoframe{}",
    "◆": r"\manualframe{}",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))
