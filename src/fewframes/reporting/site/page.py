"""The page: what was made of a study, put into its sections and written as one file.

Equal inputs give equal bytes: nothing in it tells when or where it was made.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fewframes.core.errors import UserError
from fewframes.core.files import write_text
from fewframes.core.labels import ClassTable
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.definitions import experiment_of
from fewframes.reporting.gallery import Excerpt, read_gallery
from fewframes.reporting.site import provenance, quality
from fewframes.reporting.site.asked import asked
from fewframes.reporting.site.claims import claims_of, counted
from fewframes.reporting.site.headline import headline, runs_finished
from fewframes.reporting.site.neutral import neutral
from fewframes.reporting.site.pictures import link, picture, titled
from fewframes.reporting.site.tabular import FRAMES, Cell, Link, read_printed
from fewframes.reporting.statistics import Grid

_HERE = Path(__file__).parent
_CARDS = 6
"""Clips of a gallery that the report shows: five thumbnails each, about 20 kB a thumbnail."""

_COST = ("cost",)
"""The figures that stand at the head."""

_OF_QUALITY = ("quality", "signals")
"""The figures that stand with the quality of labels."""

_METHOD = re.compile(r"labels-(.+)")


@dataclass(frozen=True)
class Study:
    """What the report is of: a folder of results, the config behind it, and how to read both.

    `labelled` are the methods whose labels were made, by stage (`pseudo`, `refined`); `note` is printed at the top.
    """

    results: Path
    config: Mapping[str, Any]
    grid: Grid
    catalogue: Mapping[str, Experiment]
    classes: ClassTable
    labelled: Mapping[str, Sequence[str]]
    note: str


@dataclass(frozen=True)
class _Gallery:
    """Some cards of a gallery, with the whole as a file beside the report."""

    method: str
    excerpt: Excerpt
    whole: Link

    @property
    def cards(self) -> list[Markup]:
        """The cards below the report's own headings, their names unlike those of another method's."""
        return [Markup(self._card(card)) for card in self.excerpt.cards]  # escaped by who wrote them

    @property
    def legend(self) -> Markup:
        """What the colours mean."""
        return Markup(self.excerpt.legend)

    def _card(self, card: str) -> str:
        named = card.replace('<article id="', f'<article id="{self.method}-', 1)
        return named.replace("<h2>", "<h4>", 1).replace("</h2>", "</h4>", 1)


class _Files:
    """The files to show, by their folder below the results."""

    def __init__(self, files: Sequence[Path], results: Path) -> None:
        self._results = results
        self._by_folder: dict[str, list[Path]] = {}
        for path in files:
            if not path.is_relative_to(results):
                raise UserError(f"{path} is not below {results}, where the report lies: name files of its results.")
            self._by_folder.setdefault(path.parent.relative_to(results).as_posix(), []).append(path)

    def of(self, folder: str, suffix: str) -> list[Path]:
        """Those of a folder and a kind, in the order they were named."""
        return [path for path in self._by_folder.get(folder, []) if path.suffix == suffix]

    def beside(self, path: Path) -> list[Link]:
        """The other files of a printed table, by their kind."""
        kinds = [path.with_suffix(suffix) for suffix in (".csv", ".md", ".tex")]
        return [link(kind, self._results, kind.suffix[1:].upper()) for kind in kinds if kind in self.of_folder(path)]

    def of_folder(self, path: Path) -> list[Path]:
        """Those that lie where a file does."""
        return self._by_folder.get(path.parent.relative_to(self._results).as_posix(), [])


def write_site(study: Study, files: Sequence[Path], captions: Path, out: Path) -> None:
    """Write the report of a study, `out` beside its results, of those of its files that are named.

    `captions` is the folder of the figures' captions. Raises `UserError` for files that are not what their names say.
    """
    if out.parent.resolve() != study.results.resolve():
        raise UserError(f"{out} must lie in {study.results}: the report's links are relative to it.")
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["boxes"] = _boxes
    script, style = (Markup((_HERE / name).read_text(encoding="utf-8")) for name in ("report.js", "report.css"))
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    page = environment.get_template("report.html").render(
        script=script, script_hash=sha256, style=style, **_sections(study, _Files(files, study.results), captions)
    )
    write_text(out, page.lstrip())


def _sections(study: Study, files: _Files, captions: Path) -> dict[str, Any]:
    results, grid, classes = study.results, study.grid, study.classes
    figures = [picture(path, results, captions) for path in files.of("figures", ".png")]
    printed = files.of("tables", ".html")
    tables = [(path.stem, read_printed(path, study.note, files.beside(path))) for path in printed]
    claims = next((table for name, table in tables if name == "claims"), None)
    galleries = [
        _Gallery(match[1], read_gallery(path, _CARDS), link(path, results, f"The gallery of {match[1]}"))
        for path in files.of("figures", ".html")
        if (match := _METHOD.fullmatch(path.stem))
    ]
    by_outcome = claims_of(claims) if claims else {}
    measured = (
        quality.by_distance(files.of("quality", ".csv"), results),
        quality.by_class(files.of("quality/refinement", ".csv"), results),
        quality.signals(files.of("quality/signals", ".csv"), results),
    )
    filled = [id_ for id_ in grid.experiments if experiment_of(study.catalogue, id_).filled_by]
    made_by = provenance.labels(results, study.labelled, filled), provenance.networks(grid)
    return {
        "dataset": results.name,
        "folder": neutral(results.as_posix()),
        "note": neutral(study.note),
        "asked": asked(study.config, results, grid, study.catalogue, classes, study.labelled),
        "runs": runs_finished(grid),
        "headline": headline(grid, study.catalogue, classes),
        "cost": [figure for figure in figures if figure.name in _COST],
        "tables": [(titled(name), table) for name, table in tables if name != "claims"],
        "claims": by_outcome,
        "claimed": claims,
        "counts": counted(by_outcome),
        "figures": [figure for figure in figures if figure.name not in (*_COST, *_OF_QUALITY)],
        "measured": [table for table in measured if table],
        "quality_figures": [figure for figure in figures if figure.name in _OF_QUALITY],
        "galleries": galleries,
        "software": provenance.software(),
        "stages": provenance.stages(),
        "class_table": provenance.class_table(classes),
        "made_by": [table for table in made_by if table],
        "config": yaml.safe_dump(
            neutral(study.config), allow_unicode=True, sort_keys=False, default_flow_style=None, width=100
        ),
    }


def _boxes(cell: Cell) -> Markup:
    """A row of boxes for frames, with what they say for who cannot see them."""
    kinds = dict(zip(FRAMES, ("manual", "pseudo", "unused"), strict=True))
    runs = (match[0] for match in re.finditer(r"(.)\1*", cell.text))
    boxes = Markup("").join(Markup('<i class="{}">{}</i>').format(kinds[run[0]], run) for run in runs)
    return Markup('<span class="frames" role="img" aria-label="{}">{}</span>').format(cell.frames, boxes)
