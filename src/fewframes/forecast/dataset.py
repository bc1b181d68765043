"""The dataset that is planned for: as it was indexed, as its reader sees it, or as somebody says that it will be."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewframes.core.clips import Clip, read_clips
from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable
from fewframes.datasets import index
from fewframes.doctor.case import Case
from fewframes.doctor.settings import examine_config, read_config
from fewframes.experiments.dealing import STILLS


@dataclass(frozen=True)
class Assumed:
    """A dataset that is not there: whole clips to train on, frames to score on, coarsely annotated stills."""

    train: int
    scored: int
    stills: int = 0

    def clips(self, classes: ClassTable, split: str, evaluated: str) -> list[Clip]:
        """Its clips, each as long as the class table says."""
        first, last = classes.offsets

        def clip(split: str, number: int, **more: Any) -> Clip:
            id_ = f"{split}-{number:06d}"
            return Clip(id=id_, split=split, group=id_, image=id_, coarse=id_, **more)

        whole = {"frames": "{frame}", "key": -first, "first": first, "last": last, "fine": "assumed", "truth": ""}
        return [
            *(clip(split, number, **whole) for number in range(self.train)),
            *(clip(evaluated, number, **whole) for number in range(self.scored)),
            *(clip(STILLS, number) for number in range(self.stills)),
        ]


def case_of(config: Path, repository: Path, assumed: Assumed | None) -> tuple[Case, str]:
    """The config's case with its clips, and where they are from, in a few words.

    `repository` is the folder with the workflow's `workflow/`. Raises `UserError` where the config is not one that the
    workflow takes, and where its dataset is neither there nor assumed.
    """
    settings = read_config(config)
    city = settings.get("toycity")
    if assumed is None and isinstance(city, dict) and not Path(settings["dataset"]["root"]).is_dir():
        # The sizes that its schema has where the config names none.
        assumed = Assumed(city.get("train", 24), city.get("val", 8), city.get("train_extra", 24))
    if assumed is None:
        case = _examined(config, settings, repository)
        listed = Path(case.study.folder) / "index.csv"
        if listed.is_file():
            case.clips = read_clips(listed)
            return case, f"as indexed in {listed}"
        case.clips = _read(case)
        return case, f"as it lies in {case.study.root}"
    with tempfile.TemporaryDirectory() as nowhere:
        # A study looks whether its folders are there.
        settings["dataset"]["root"] = nowhere
        for key in ("truth", "corrections"):
            if settings["dataset"].get(key):
                settings["dataset"][key] = nowhere
        case = _examined(config, settings, repository)
    case.clips = assumed.clips(case.source.classes, case.train_split, case.evaluated_split)
    return case, "assumed, every clip whole"


def _examined(config: Path, settings: dict[str, Any], repository: Path) -> Case:
    group, case = examine_config(settings, repository, workers=1, deep=False)
    if group.findings or case is None:
        found = next(iter(group.findings), None)
        told = f": {found.what}, {found.name}{f' ({found.detail})' if found.detail else ''}" if found else ""
        raise UserError(
            f"{config} is no config to plan with{told}: `fewframes doctor {config}` says what to mend; where the "
            "dataset is not there yet, say its size by --assume."
        )
    return case


def _read(case: Case) -> list[Clip]:
    try:
        return index(case.config["dataset"]["reader"], case.source)
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')} (to plan before the dataset is prepared, say its size by --assume)."
        ) from error
