"""A study: the config as the workflow sees it. Parsed in every Snakemake process, so it stays light."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fewframes.core.clips import scan
from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json, digest
from fewframes.core.labels import load_class_table
from fewframes.core.trust import refuse_open
from fewframes.datasets import MEASURED_ONLY
from fewframes.experiments.methods import Methods
from fewframes.experiments.rounds import Rounds
from fewframes.experiments.schemes import FAMILIES, MEASURED, Experiment, chosen, load_catalogue
from fewframes.experiments.trainings import Trainings
from fewframes.labelling import propagation, refinement
from fewframes.labelling.methods import check_method

_WILDCARD = re.compile(r"\{\s*\w+\s*(,[^{}]*)?\}")
"""What Snakemake takes for a wildcard, in the params of rules as in the names of files."""


class Study:
    """What a validated config asks for: experiments, shards, runs, and each stage's own settings.

    Settings are handed to rules as canonical JSON, one block a stage, so that editing one block makes only its
    stage due and reordering keys makes nothing due.
    """

    def __init__(self, config: Mapping[str, Any], catalogue: str | Path) -> None:
        _check_texts(config)
        self._config = config
        self.dataset: str = config["dataset"]["name"]
        self.root = Path(config["dataset"]["root"])
        self.folder = f"{config['results']}/{self.dataset}"
        self.experiments = chosen(load_catalogue(catalogue), config["experiments"])
        self.draws: list[int] = config["draws"]
        self.seeds: list[int] = config["seeds"]
        self.undrawn_seeds: list[int] = config["undrawn_seeds"] or self.seeds
        self.tables: list[str] = config["tables"]
        self.trainings = Trainings(config, self.folder)
        self.networks = self.trainings.networks
        self.shards = [f"{i:04d}" for i in range(config["shards"])]
        self.methods = Methods(config, self.folder)
        self.rounds = Rounds(config, self.experiments, self.trainings)
        self._scanned: dict[tuple[int, ...], str] = {}
        first, last = config["propagation"]["offsets"] or (0, 1)
        if not first <= last or first == last == 0:
            raise UserError(f"config: propagation.offsets is [{first}, {last}]: give the first and the last offset.")
        check_method("propagation", self.propagation, propagation.METHODS)
        refining = (*refinement.METHODS, *refinement.VARIANTS)
        for method in self.refined_by:
            check_method("refinement", method, refining)
        for method in config["quality"]["methods"]:
            check_method("propagation", method, propagation.METHODS)
        for method in config["quality"]["refinements"]:
            check_method("refinement", method, refining)
        if config["quality"]["refinements"] and not self.families["refined"]:
            raise UserError(
                "config: quality.refinements measures the images that experiments have refined, and none has any: name "
                "an experiment with refined labels, such as coarse-50-refined, or leave it empty."
            )
        if self._config["dataset"]["reader"] in MEASURED_ONLY and self.experiments:
            raise UserError(
                f"config: the reader '{self._config['dataset']['reader']}' reads a measurement set, whose clips are "
                "validation clips of another dataset: leave 'experiments' empty, and train on the other."
            )
        if not self.generated and not self.root.is_dir():
            raise UserError(f"The dataset folder {self.root} does not exist: correct dataset.root in the config.")
        if Path(config["results"]).resolve().is_relative_to(self.root.resolve()):
            raise UserError(
                f"The results folder {config['results']} lies in the dataset's own, {self.root}, which each run would "
                "change: set dataset.root to a folder of data alone, or `results` to one elsewhere."
            )
        _check_writable(Path(self.folder))
        refuse_open(self.folder, "results and hashes")
        if self.experiments and not self.networks:
            raise UserError(
                "config: 'experiments' are named but 'training' names no network: add `training: {tmanet: {}}`."
            )

    @cached_property
    def runs(self) -> list[str]:
        """Every run, as `<network>/<experiment>/draw<j>-seed<k>`."""
        return [
            f"{network}/{experiment.id}/draw{draw}-seed{seed}"
            for network in self.networks
            for experiment in self.experiments
            if self.trainings.takes(network, experiment.id)
            for draw, seed in itertools.product(*self.runs_of(experiment))
        ]

    def runs_of(self, experiment: Experiment) -> tuple[list[int], list[int]]:
        """An experiment's draws and seeds: it is run with each of the ones and each of the others."""
        return experiment.draws_of(self.draws), experiment.seeds_of(self.seeds, self.undrawn_seeds)

    def manifests(self, family: str) -> list[str]:
        """The manifests of a family, as `<experiment>/draw<j>`."""
        return [f"{e.id}/draw{draw}" for e in self.families[family] for draw in e.draws_of(self.draws)]

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
    def selections(self) -> list[str]:
        """What must be measured of every clip before the plan, for experiments that choose clips by it."""
        chosen_by = {(e.mixture or e).selection for e in self.experiments}
        return [name for name in MEASURED if name in chosen_by]

    @property
    def propagation(self) -> str:
        """The propagation method that is trained on."""
        return self._config["propagation"]["method"]

    @property
    def refinement(self) -> str:
        """The refinement method that is trained on."""
        return self._config["refinement"]["method"]

    @property
    def refined_by(self) -> list[str]:
        """The refinement methods that are trained on: the config's, and those that experiments name."""
        named = (e.refining(self.refinement) for e in self.families["refined"])
        return list(dict.fromkeys([self.refinement, *named]))

    @property
    def measured(self) -> list[str]:
        """The propagation methods to measure against dense truth."""
        return self._config["quality"]["methods"] if self._config["dataset"]["truth"] else []

    @property
    def labelled(self) -> dict[str, list[str]]:
        """The methods whose labels are made, by stage (`pseudo`, `refined`)."""
        trained = self.families["propagated"] or self.families["filled"] or self._config["propagation"]["offsets"]
        pseudo = [*self.measured, *([self.propagation] if trained else [])]
        # What is measured beside the method that is trained on is made of the same images where they have fine labels.
        refined = [*self.refined_by, *self._config["quality"]["refinements"]] if self.families["refined"] else []
        return {"pseudo": list(dict.fromkeys(pseudo)), "refined": list(dict.fromkeys(refined))}

    @property
    def measured_splits(self) -> list[str]:
        """The splits whose clips are measured."""
        return self._config["quality"]["splits"]

    @property
    def reach(self) -> int:
        """How far from the key frame is measured, in frames."""
        return self._config["quality"]["reach"]

    @property
    def signalled(self) -> list[str]:
        """The propagation methods whose signals are measured."""
        measured_only = self._config["dataset"]["reader"] in MEASURED_ONLY
        return self.labelled["pseudo"] if self.signals and not measured_only else []

    @property
    def signals(self) -> int:
        """Of how many clips the signals that need no truth are measured."""
        return self._config["quality"]["signals"]

    @property
    def truth(self) -> str:
        """The folder of dense truth; empty where there is none."""
        return self._config["dataset"]["truth"] or ""

    @property
    def classes(self) -> str:
        """The class table's name or file."""
        return self._config["dataset"]["classes"]

    @cached_property
    def class_digest(self) -> str:
        """A digest of the class table, for the rules that read all of it."""
        return load_class_table(self.classes).digest

    @cached_property
    def label_digest(self) -> str:
        """A digest of the classes alone, for the rules to which a price or a clip's reach makes no difference."""
        return load_class_table(self.classes).label_digest

    @cached_property
    def scored_digest(self) -> str:
        """A digest of the classes, and of the groups that are scored too."""
        return digest(self.label_digest, load_class_table(self.classes).groups)

    @cached_property
    def refined_digest(self) -> str:
        """A digest of the classes, and of which of them are refined."""
        return digest(self.label_digest, load_class_table(self.classes).refined)

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

    def scan_truth(self) -> str:
        """A digest of the dense truth's files; empty where there are none."""
        # These readers prepare the truth from the dataset's own folder.
        beside = [self.root] if self._config["dataset"]["reader"] in ("vps", "camvid") else []
        return scan(self.truth, *beside) if self.truth else ""

    @property
    def corrections(self) -> str:
        """The folder of labels that people corrected; empty where there is none."""
        return self._config["dataset"]["corrections"] or ""

    def scan_corrections(self) -> str:
        """A digest of the corrections' files; empty where there are none."""
        return scan(self.corrections) if self.corrections else ""

    def scan_prepared_truth(self) -> str:
        """A digest of the dense truth's files where they must be prepared before they can be read."""
        dataset = self._config["dataset"]
        return self.scan_truth() if dataset["reader"] == "video" or "truth" in dataset["options"] else ""

    def dataset_settings(self) -> dict[str, Any]:
        """What a reader must know."""
        dataset = self._config["dataset"]
        return {key: dataset[key] for key in ("reader", "root", "classes", "options", "truth")}

    def prepare_settings(self) -> str:
        """Settings of `fewframes prepare`."""
        return canonical_json(self.dataset_settings())

    def toycity_settings(self) -> str:
        """Settings of `fewframes toycity`."""
        return canonical_json(self._config.get("toycity", {}))

    def plan_settings(self) -> str:
        """Settings of `fewframes needs`."""
        quality = self._config["quality"]
        # Where nothing is refined, another method makes no plan due.
        refinement = {"refinement": self.refinement} if self.families["refined"] else {}
        return canonical_json(
            {
                **self.dataset_settings(),
                "corrections": self.corrections,
                "offsets": self._config["propagation"]["offsets"],
                "experiments": {e.id: e.recipe for e in self.experiments},
                "draws": self.draws,
                "past_frames": self.trainings.past_frames,
                "shards": len(self.shards),
                "measured": quality["splits"] if self.measured else [],
                "reach": quality["reach"],
                **refinement,
            }
        )

    def check_weights(self) -> None:
        """Raise `UserError` for weights that are none, before hours of work are spent on others."""
        self.trainings.check_weights()
        for stage, methods in (("propagation", self.labelled["pseudo"]), ("refinement", self.labelled["refined"])):
            for method in methods:
                self.methods.check_weights(stage, method)

    def manifest_settings(self, family: str) -> str:
        """Settings of `fewframes manifests` for one family."""
        settings: dict[str, Any] = {
            "experiments": {e.id: e.recipe for e in self.families[family]},
            "draws": self.draws,
            "past_frames": self.trainings.past_frames,
        }
        if any(e.control == "hours" for e in self.families[family]):
            settings["minutes"] = dict(load_class_table(self.classes).minutes)
        if family == "annotated":
            settings["evaluation_split"] = self._config["evaluation"]["split"]
        return canonical_json(settings)

    @property
    def evaluation_device(self) -> str:
        """Where networks are scored: auto, cpu or cuda."""
        return str(self._config["evaluation"]["device"])

    def evaluation_settings(self, network: str) -> str:
        """Settings of `fewframes evaluate` for one network: its own go before those of all."""
        block = self._config["evaluation"]
        of_all = {k: v for k, v in block.items() if k not in ("split", "device") and not isinstance(v, Mapping)}
        own = {**block.get(network, {})}
        if "crop" in own and own["crop"] is None:
            own["crop"] = self._config["training"][network]["network"]["size"]
        return canonical_json(of_all | own)

    def filling_settings(self) -> str:
        """Settings of `fewframes fill`: as networks are scored, but that a label has its frame's own size."""
        scored = json.loads(self.evaluation_settings(self.rounds.network))
        return canonical_json({key: value for key, value in scored.items() if key != "size"})

    def label_settings(self) -> str:
        """Settings of figures of pseudo-labels: the note, with a mark where some of the labels mean nothing."""
        random = self.methods.random("propagation", self.labelled["pseudo"])
        marks = [f"{method}: labels made with random weights, which mean nothing." for method in random]
        return canonical_json({"note": " ".join(filter(None, [*marks, self._config["note"]]))})

    def table_settings(self) -> str:
        """Settings of `fewframes table` and `fewframes figure`: which runs count, and the note below."""
        seeds = {e.id: self.runs_of(e)[1] for e in self.experiments}
        taken = {n: [e.id for e in self.experiments if self.trainings.takes(n, e.id)] for n in self.networks}
        return canonical_json(
            {
                "networks": self.networks,
                "experiments": {e.id: e.draws_of(self.draws) for e in self.experiments},
                "seeds": self.seeds,
                "own_seeds": {id_: own for id_, own in seeds.items() if own != self.seeds},
                "own_experiments": {n: ids for n, ids in taken.items() if len(ids) < len(self.experiments)},
                "note": self._config["note"],
                "allow_random_weights": self._config["allow_random_weights"],
            }
        )


def _check_texts(value: Any, key: str = "") -> None:
    """Raise `UserError` for a text in the config that Snakemake or a command would take for something else."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_texts(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            _check_texts(inner, key)
    elif isinstance(value, str):
        if wildcard := _WILDCARD.search(value):
            raise UserError(
                f"config: {key} has {wildcard[0]}, which Snakemake would fill in: write it without the braces, and "
                "rename a file or folder that is called so, or lead to it by a link."
            )
        if value.startswith("-") and key in ("results", "dataset.root"):
            raise UserError(f"config: {key} is '{value}', which commands would take for an option: write ./{value}.")


def _check_writable(folder: Path) -> None:
    """Raise `UserError` where results could not be written: better before hours of work than after."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"Results cannot be written to {folder}: {there} is no folder that you may write to.")
