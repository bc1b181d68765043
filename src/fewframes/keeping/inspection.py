"""What the rooms of a verification share: the study, what files hold, what was found, and what must be made again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fewframes.core.clips import PREPARED, Root
from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable
from fewframes.doctor.case import Case
from fewframes.doctor.report import FAULT, WARNING, Group, Report, plural
from fewframes.doctor.settings import examine_config, read_config
from fewframes.experiments.study import Study
from fewframes.keeping.contents import AS_KNOWN, EDITED, MISSING, ROTTED, UNKNOWN, Contents

REMADE = "`fewframes verify --mend` makes room for them; then the same `snakemake` command makes them again."
"""The mend of whatever follows from other files."""
_RESTORE = "Restore them from a copy"
_SOURCES = {
    MISSING: ("missing", f"{_RESTORE}."),
    ROTTED: ("damaged: another content at the same size and time", f"{_RESTORE}: Snakemake does not see it."),
    EDITED: (
        "changed since they were used",
        "If that was meant, run the same `snakemake` command: what rests on them is made again. If not, restore them.",
    ),
}


class Verdict(Report):
    """A report whose last line says whether everything is as it was recorded."""

    def _verdict(self) -> str:
        found, unknown = (sum(f.severity == severity for f in self.rows) for severity in (FAULT, WARNING))
        untold = f"; {plural(unknown, 'piece')} cannot be told" if unknown else ""
        return f"Not whole: {plural(found, 'piece')} to mend{untold}." if found else f"Whole{untold}."


@dataclass
class Inspection:
    """A dataset's results as they are looked over.

    `broken` are files that must be made again, and `rescored` the runs whose scores follow from confusion matrices that
    are whole. `dataset` is the group of the dataset's own files, on which several others rest.
    """

    case: Case
    repository: Path
    contents: Contents
    dataset: Group = field(default_factory=lambda: Group("Dataset"))
    broken: dict[Path, None] = field(default_factory=dict)
    rescored: list[Path] = field(default_factory=list)
    _blamed: set[str] = field(default_factory=set)

    @property
    def study(self) -> Study:
        """The config as the workflow sees it."""
        return self.case.study

    @property
    def results(self) -> Path:
        """The dataset's folder of results."""
        return Path(self.case.study.folder)

    @property
    def root(self) -> Root:
        """Where the paths of samples lead."""
        return self.case.source.root

    @property
    def classes(self) -> ClassTable:
        """The class table."""
        return self.case.source.classes

    def shown(self, file: Path) -> str:
        """A file of the results as a report names it: relative to them."""
        return file.relative_to(self.results).as_posix() if file.is_relative_to(self.results) else str(file)

    def remake(self, group: Group, what: str, file: Path, detail: str = "") -> None:
        """Note as a fault a file of the results that can be made again, and have it made again."""
        group.add(FAULT, what, self.shown(file), REMADE, detail)
        self.broken[file] = None

    def blame(self, paths: Iterable[str], recorded: Mapping[str, str] | None = None) -> bool:
        """Note those of the dataset's files, by their path below its root, that are not what they were.

        `recorded` has content hashes by path, which go before what is kept of earlier readings. Returns whether any is
        at fault.
        """
        faulty = False
        for path in dict.fromkeys(paths):
            file = self.root / path
            became = self.contents.became(file)
            known = (recorded or {}).get(path)
            if known and became != MISSING:
                differs = known != self.contents.of(file)
                became = (ROTTED if became == ROTTED else EDITED) if differs else AS_KNOWN
            if became in (AS_KNOWN, UNKNOWN):
                continue
            faulty = True
            if path not in self._blamed:
                self._blamed.add(path)
                self._note(path, file, became)
        return faulty

    def _note(self, path: str, file: Path, became: str) -> None:
        what, mend = _SOURCES[became]
        if path.startswith(PREPARED) and not file.is_symlink():
            self.remake(self.dataset, f"prepared files {what}", file)
            # The preparation looks for what is absent, and the plan for corrected labels.
            self.broken[self.results / "prepare.ran"] = None
        else:
            self.dataset.add(FAULT, what, str(file), mend)


def begin(config: Path, repository: Path, workers: int) -> Inspection:
    """What the config at `config` asks for, ready to be looked over.

    Paths in the config are relative to the working directory, as in the workflow. Raises `UserError` for a config that
    the workflow would refuse, and where nothing was made by it yet.
    """
    group, case = examine_config(read_config(config), repository, workers, deep=False)
    if faults := [finding for finding in group.findings if finding.severity == FAULT]:
        raise UserError(
            f"The config {config} does not hold ({faults[0].what}: {faults[0].name}): mend it first; `fewframes doctor "
            f"{config}` tells more."
        )
    if case is None or not Path(case.study.folder).is_dir():
        raise UserError(f"Nothing was made by the config {config} yet: run `snakemake --configfile {config}` first.")
    kept = Path(case.study.folder) / "hashes"
    return Inspection(case, repository, Contents(kept, workers))
