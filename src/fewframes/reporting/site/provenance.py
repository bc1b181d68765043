"""What made a study's results: versions, the classes, and the weights with their hashes. Nothing of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fewframes
from fewframes.core.files import canonical_json, read_csv
from fewframes.core.labelfile import read_provenance
from fewframes.core.labels import ClassTable
from fewframes.core.stages import VERSIONS
from fewframes.core.weights import registry
from fewframes.experiments.methods import STAGES
from fewframes.reporting.printing import GAP, Column
from fewframes.reporting.site.asked import Facts
from fewframes.reporting.site.neutral import neutral
from fewframes.reporting.site.tabular import Shown, shown
from fewframes.reporting.statistics import Grid, read_training


def software() -> Facts:
    """Fewframes, the commit it stands at where that is known, Python, and the packages it asks for."""
    names = [re.split(r"[^\w.-]", wanted, maxsplit=1)[0] for wanted in _required()]
    packages = [(name, version) for name in sorted(names, key=str.lower) if (version := _version(name))]
    known = [("Fewframes", fewframes.__version__), ("commit", _commit()), ("Python", platform.python_version())]
    return [*(fact for fact in known if fact[1]), *packages]


def stages() -> Facts:
    """Each stage's version, by which its results are known."""
    return [(stage, str(version)) for stage, version in VERSIONS.items()]


def class_table(classes: ClassTable) -> Facts:
    """The class table's name, size and digests."""
    facts = [("name", classes.name), ("classes", str(len(classes.names)))]
    return [*facts, ("digest", classes.digest), ("digest of the classes alone", classes.label_digest)]


def labels(results: Path, labelled: Mapping[str, Sequence[str]], filled: Sequence[str] = ()) -> Shown | None:
    """Of each method (by stage: `pseudo`, `refined`) its weights and settings, as its first label file has them.

    Below them a row each of the `filled` experiments, by their ids, whose weights are the model that fills.
    """
    rows = []
    for stage, method, told in _first_labels(results, labelled):
        settings = dict(told.get("settings", {}))
        weights = settings.pop("weights", "")
        name = _published(weights) if weights else "needs none"
        rows.append([STAGES[stage].block, method, str(told.get("version", GAP)), name, _hash(weights), _flat(settings)])
    for experiment in filled:
        if told := _first_filled(results / "filled" / experiment, results):
            row = ["filling", experiment, str(told.get("version", GAP)), _run(told.get("model", ""))]
            rows.append([*row, _hash(told.get("model_hash", "")), _flat(told.get("settings", {}))])
    if not rows:
        return None
    headings = [Column("Stage", words=True), Column("Method", words=True), Column("Version")]
    headings += [Column(title, words=True) for title in ("Weights", "SHA-256 of the weights", "Settings")]
    return shown("Labels", headings, rows, head=1)


def networks(grid: Grid) -> Shown | None:
    """Of each network the parameters and the weights its trainings began with, as the finished ones say."""
    rows: dict[tuple[str, ...], int] = {}
    for network in grid.networks:
        for path in sorted((grid.results / "runs" / network).glob("*/*/training.json")):
            facts = read_training(path.parent)
            given = facts.get("pretrained") or GAP
            row = (network, f"{facts.get('parameters', 0):,}", _published(given), _hash(given))
            rows[row] = rows.get(row, 0) + _counts(grid, path)
    headings = [Column("Network", words=True), Column("Parameters"), Column("Backbone weights", words=True)]
    headings += [Column("SHA-256 of the weights", words=True), Column("Runs")]
    listed = [[*row, str(count)] for row, count in rows.items() if count]
    return shown("Networks", headings, listed) if listed else None


def _first_labels(results: Path, labelled: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for stage, methods in labelled.items():
        for method in methods:
            collected = results / stage / method / "labels.csv"
            first = next(iter(read_csv(collected, ("file",))), None) if collected.is_file() else None
            if first:
                yield stage, method, read_provenance(results / first["file"])


def _first_filled(folder: Path, results: Path) -> Mapping[str, Any]:
    for collected in sorted(folder.glob("draw*.csv")):
        if rows := read_csv(collected, ("file",)):
            return read_provenance(results / rows[0]["file"])
    return {}


def _run(model: str) -> str:
    """The run whose model it is, as `<network>/<experiment>/draw<j>-seed<k>`."""
    return "/".join(Path(model).parts[-4:-1])


def _counts(grid: Grid, path: Path) -> bool:
    """Whether the training is one of the grid's."""
    network, experiment, run, _ = path.parts[-4:]
    return any(run == f"draw{draw}-seed{seed}" for draw, seed in grid.runs_of(network, experiment))


def _published(sha256: str) -> str:
    """What weights of this hash are called, where they are known; `sha256` may be the word for having none."""
    known = {entry.sha256: name for name, entry in registry().items() if entry.sha256}
    return known.get(sha256, sha256 if _hash(sha256) == GAP else "not published")


def _hash(sha256: str) -> str:
    return sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else GAP


def _flat(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value if isinstance(value, str) else canonical_json(value)}"
        for key, value in neutral(settings).items()
    )


def _required() -> list[str]:
    try:
        required = importlib.metadata.requires("fewframes") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [wanted for wanted in required if "extra ==" not in wanted]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit that the package is run from, marked where tracked files differ from it; empty where none is known."""
    folder = Path(fewframes.__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    # Without locks: whoever commits meanwhile must not be in our way, nor we in theirs.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return git("rev-parse", "HEAD").strip() + (", changed since" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""
