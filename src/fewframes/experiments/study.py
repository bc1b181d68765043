"""A study: the config as the workflow sees it. Parsed in every Snakemake process, so it stays light."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fewframes.core.clips import scan
from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json
from fewframes.experiments.schemes import FAMILIES, Experiment, chosen, load_catalogue
from fewframes.labelling import propagation, refinement
from fewframes.labelling.methods import check_method


class Study:
    """What a validated config asks for: experiments, shards, runs, and each stage's own settings.

    Settings are handed to rules as canonical JSON, one block a stage, so that editing one block makes only its
    stage due and reordering keys makes nothing due.
    """

    def __init__(self, config: Mapping[str, Any], catalogue: str | Path) -> None:
        self._config = config
        self.dataset: str = config["dataset"]["name"]
        self.root = Path(config["dataset"]["root"])
        self.folder = f"{config['results']}/{self.dataset}"
        self.experiments = chosen(load_catalogue(catalogue), config["experiments"])
        self.draws: list[int] = config["draws"]
        self.seeds: list[int] = config["seeds"]
        self.tables: list[str] = config["tables"]
        self.networks = list(config["training"])
        self.shards = [f"{i:04d}" for i in range(config["shards"])]
        self._scanned: dict[tuple[int, ...], str] = {}
        check_method("propagation", self.propagation, propagation.METHODS)
        check_method("refinement", self.refinement, refinement.METHODS)
        for method in config["quality"]["methods"]:
            check_method("propagation", method, propagation.METHODS)
        if not self.generated and not self.root.is_dir():
            raise UserError(f"The dataset folder {self.root} does not exist: correct dataset.root in the config.")
        if self.experiments and not self.networks:
            raise UserError(
                "config: 'experiments' are named but 'training' names no network: add `training: {tmanet: {}}`."
            )

    @property
    def generated(self) -> bool:
        """Whether the dataset is toy city, to be generated."""
        return "toycity" in self._config

    @cached_property
    def families(self) -> dict[str, list[Experiment]]:
        """The experiments by what must exist before their manifests."""
        return {family: [e for e in self.experiments if e.family == family] for family in FAMILIES}

    def family(self, experiment: str) -> str:
        """The family of an experiment by its id (`evaluation` counts as annotated)."""
        return next((e.family for e in self.experiments if e.id == experiment), "annotated")

    @property
    def propagation(self) -> str:
        """The propagation method that is trained on."""
        return self._config["propagation"]["method"]

    @property
    def refinement(self) -> str:
        """The refinement method that is trained on."""
        return self._config["refinement"]["method"]

    @property
    def measured(self) -> list[str]:
        """The propagation methods to measure against dense truth."""
        return self._config["quality"]["methods"] if self._config["dataset"]["truth"] else []

    @property
    def measured_splits(self) -> list[str]:
        """The splits whose clips are measured."""
        return self._config["quality"]["splits"]

    @property
    def truth(self) -> str:
        """The folder of dense truth; empty where there is none."""
        return self._config["dataset"]["truth"] or ""

    @property
    def classes(self) -> str:
        """The class table's name or file."""
        return self._config["dataset"]["classes"]

    @property
    def past_frames(self) -> int:
        """Memory frames a sample needs: the most that any network reads."""
        return max((n.get("network", {}).get("past_frames", 1) for n in self._config["training"].values()), default=1)

    def scan(self) -> str:
        """A digest of the dataset's files (see `core.clips.scan`); they are looked at once a process."""
        try:
            status = self.root.stat()
        except OSError:
            return "absent"
        key = (status.st_ino, status.st_mtime_ns)
        if key not in self._scanned:
            self._scanned = {key: scan(self.root)}
        return self._scanned[key]

    def toycity_settings(self) -> str:
        """Settings of `fewframes toycity`."""
        return canonical_json(self._config.get("toycity", {}))

    def plan_settings(self) -> str:
        """Settings of `fewframes plan`."""
        dataset = self._config["dataset"]
        quality = self._config["quality"]
        return canonical_json(
            {
                **{key: dataset[key] for key in ("reader", "root", "classes", "options")},
                "experiments": {e.id: e.recipe for e in self.experiments},
                "draws": self.draws,
                "past_frames": self.past_frames,
                "shards": len(self.shards),
                "measured": quality["splits"] if self.measured else [],
                "reach": quality["reach"],
            }
        )

    def method_settings(self, stage: str, method: str) -> str:
        """Settings of one method of `propagation` or `refinement`."""
        return canonical_json(self._config[stage].get(method, {}))

    def manifest_settings(self, family: str) -> str:
        """Settings of `fewframes manifests` for one family."""
        settings: dict[str, Any] = {
            "experiments": {e.id: e.recipe for e in self.families[family]},
            "draws": self.draws,
            "past_frames": self.past_frames,
        }
        if family == "annotated":
            settings["evaluation_split"] = self._config["evaluation"]["split"]
        return canonical_json(settings)

    def training_settings(self, network: str) -> str:
        """Settings of `fewframes train` for one network."""
        block = self._config["training"][network]
        return canonical_json({**block, "network": {"name": network, **block.get("network", {})}})

    def evaluation_settings(self) -> str:
        """Settings of `fewframes evaluate`."""
        return canonical_json({k: v for k, v in self._config["evaluation"].items() if k != "split"})

    def table_settings(self) -> str:
        """Settings of `fewframes table` and `fewframes figure`: which runs count, and the note below."""
        ids = [e.id for e in self.experiments]
        return canonical_json(
            {
                "draws": self.draws,
                "seeds": self.seeds,
                "networks": self.networks,
                "experiments": ids,
                "note": self._config["note"],
            }
        )
