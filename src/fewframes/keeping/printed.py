"""Tables and figures: what is printed from runs is printed again, aside, and compared; figures must open."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

from PIL import Image

from fewframes.core.errors import UserError
from fewframes.doctor.report import WARNING, Group, plural
from fewframes.experiments.parts import CURVES, SHEETS, TABLES, Parts
from fewframes.experiments.schemes import load_catalogue
from fewframes.keeping.inspection import Inspection
from fewframes.reporting.claims import write_claims
from fewframes.reporting.marks import marked_note
from fewframes.reporting.statistics import Grid
from fewframes.reporting.tables import write_table

_KINDS = {"claims": ("csv", "md", "html")}
_TABLE = ("csv", "md", "tex", "html")
_FIGURES = (*SHEETS, *CURVES, "quality", "signals")
"""The figures that the workflow draws: whatever else lies among them is somebody's own."""


def inspect_tables(it: Inspection, sound: bool, group: Group) -> None:
    """Print every table that is there again and compare bytes; only where what they rest on is `sound`."""
    folder, parts = it.results / "tables", Parts(it.study, it.repository / "workflow" / "experiments")
    asked = [*it.study.tables, "claims"] if it.study.experiments and it.study.tables else []
    every = (*TABLES, "claims")
    there = [name for name in every if any((folder / f"{name}.{k}").is_file() for k in _KINDS.get(name, _TABLE))]
    # Others than those asked for were printed by name; or the config has nothing for them any more, as for some runs.
    printed = [name for name in there if name in asked or not _is_absent(it, parts, name)]
    group.summary = f"{plural(len(printed), 'table')} of {len({*asked, *printed})}"
    if not sound:
        mend = "Mend what they rest on, run the same `snakemake` command, and verify again."
        for name in printed:
            group.add(WARNING, "tables on what is to be mended", f"tables/{name}", mend)
        return
    for name in printed:
        with tempfile.TemporaryDirectory() as aside:
            try:
                _print(it, parts, name, Path(aside) / name)
            except UserError as error:
                group.refused("tables that cannot be printed again", f"tables/{name}", error)
                continue
            for kind in _KINDS.get(name, _TABLE):
                file = folder / f"{name}.{kind}"
                if not file.is_file():
                    it.remake(group, "tables that are missing", file)
                elif file.read_bytes() != (Path(aside) / f"{name}.{kind}").read_bytes():
                    it.remake(group, "tables that are not what the runs say", file)


def _is_absent(it: Inspection, parts: Parts, name: str) -> bool:
    """Whether the config has nothing for a table."""
    return not it.study.runs if name == "claims" else bool(parts.absent(name))


def _print(it: Inspection, parts: Parts, name: str, out: Path) -> None:
    experiments = it.repository / "workflow" / "experiments"
    told = it.study.table_settings() if name == "claims" else parts.settings(name)
    settings = json.loads(told)
    grid = Grid.of(it.results, settings)
    write = write_claims if name == "claims" else write_table
    write(
        experiments / f"{name}.yaml",
        load_catalogue(experiments / "catalogue.yaml"),
        grid,
        it.classes,
        out,
        dataset=it.results.name,
        note=marked_note(grid, settings),
    )


def inspect_figures(it: Inspection, group: Group) -> None:
    """Every figure of the workflow must open: whether a drawing is right, only an eye can tell."""
    drawn = (it.results / "figures" / f"{name}.{kind}" for name in _FIGURES for kind in ("png", "pdf"))
    files = sorted(file for file in drawn if file.is_file())
    for file in files:
        if not (_is_png(file) if file.suffix == ".png" else _is_pdf(file)):
            it.remake(group, "figures that are damaged", file)
        elif not (other := file.with_suffix({".png": ".pdf", ".pdf": ".png"}[file.suffix])).is_file():
            it.remake(group, "figures that are missing", other)
    group.summary = f"{plural(len(files), 'picture')} opened"


def _is_png(file: Path) -> bool:
    content = io.BytesIO(file.read_bytes())
    try:
        with Image.open(content, formats=("PNG",)) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _is_pdf(file: Path) -> bool:
    content = file.read_bytes()
    return content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
