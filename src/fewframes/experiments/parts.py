"""Parts of a study: what a single table or figure shows of it, and so rests on. Snakemake parses it: it stays light."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json, read_yaml
from fewframes.experiments.schemes import Experiment
from fewframes.experiments.study import Study

TABLES = tuple(f"table{i}" for i in range(1, 8))
"""The paper's tables."""

CURVES: Mapping[str, str] = {"figure4": "table3", "figure5": "table4", "cost": "", "clips": ""}
"""The figures of runs, and whose rows they draw; without a table they are of every run."""

SHEETS = ("figure1", "figure2", "figure3")
"""The figures of labelled images."""

_ARMS = ("experiment", "unrefined", "refined")
_COMPARED = ("control", "hours")
_FEW = 4
"""Experiments that a sentence names."""


def among_clips(experiment: Experiment) -> bool:
    """Whether the figure `clips` shows an experiment: N1, and mixtures of as many samples of clips drawn at random.

    Mixtures are of manual labels, and of propagated ones as they were made; beside them stand their key frames alone.
    """
    mixture = experiment.mixture or experiment
    other = mixture.coarse_percent or mixture.still or mixture.filled_by
    return not other and mixture.selection == "random" and mixture.clips != "all"


class Parts:
    """The tables and figures of a study; `definitions` is the folder of the tables' definitions (YAML)."""

    def __init__(self, study: Study, definitions: Path) -> None:
        self._study = study
        self._definitions = definitions
        self._by_id = {e.id: e for e in study.experiments}
        self._trained = frozenset((run.split("/")[0], run.split("/")[1]) for run in study.runs)
        # A Snakemake process asks again and again; it has one study, for good.
        self.shown = cache(self._shown)
        self._rows = cache(self._read)

    def definition(self, name: str) -> Path:
        """The definition of a table, or of that whose rows a figure draws."""
        return self._definitions / f"{CURVES.get(name) or name}.yaml"

    def _shown(self, name: str) -> frozenset[tuple[str, str]]:
        """What a table or figure shows of what is trained: networks with experiments, by their ids."""
        if name == "clips":
            return frozenset(pair for pair in self._trained if among_clips(self._by_id[pair[1]]))
        if name in CURVES and not CURVES[name]:
            return self._trained
        read = self._rows(name)
        keys = _ARMS if name in CURVES else (*_ARMS, *_COMPARED)
        shown = {(row["network"], row[key]) for row in read["rows"] for key in keys if key in row}
        if name not in CURVES:
            if read.get("others", read["kind"] == "mixtures"):
                coarse = read["kind"] == "coarse"
                others = {e.id for e in self._study.experiments if bool(e.coarse_percent) == coarse}
                named = {row[key] for row in read["rows"] for key in _ARMS if key in row}
                shown |= {(network, id_) for network in self._study.networks for id_ in others - named}
            shown |= {(network, read["baseline"]) for network, _ in shown if "baseline" in read}
        return self._trained & shown

    def _read(self, name: str) -> Mapping[str, Any]:
        path = self.definition(name)
        read = read_yaml(path)
        try:
            _ = read["kind"], [row["network"] for row in read["rows"]]
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is not a table definition ({error!r}): it needs kind and rows.") from error
        return dict(read)

    def experiments(self, name: str) -> list[Experiment]:
        """The experiments that a table or figure shows, in the config's order."""
        ids = {id_ for _, id_ in self.shown(name)}
        return [e for e in self._study.experiments if e.id in ids]

    def runs(self, name: str) -> list[str]:
        """The runs that a table or figure shows, as `<network>/<experiment>/draw<j>-seed<k>`."""
        shown = self.shown(name)
        return [run for run in self._study.runs if (run.split("/")[0], run.split("/")[1]) in shown]

    def rests_on(self, name: str) -> tuple[list[Experiment], list[str]]:
        """The experiments and runs that a table or figure rests on: what it shows, and what filled labels of it."""
        experiments, runs = self.experiments(name), self.runs(name)
        for experiment in experiments:
            if experiment.filled_by:
                runs += [self._study.rounds.run(experiment.id, draw) for draw in self._draws(experiment)]
                teacher = self._by_id[experiment.filled_by]
                # The list grows while it is gone through: a teacher may be filled itself.
                experiments += [teacher] if teacher not in experiments else []
        return experiments, list(dict.fromkeys(runs))

    def _draws(self, experiment: Experiment) -> list[int]:
        return experiment.draws_of(self._study.draws)

    def settings(self, name: str) -> str:
        """Settings of `fewframes table` and of figures of runs: the study's, of what is shown alone."""
        settings = json.loads(self._study.table_settings())
        networks = {network for network, _ in self.shown(name)}
        settings["networks"] = [network for network in settings["networks"] if network in networks]
        settings["experiments"] = {e.id: self._draws(e) for e in self.experiments(name)}
        own = settings["own_seeds"]
        settings["own_seeds"] = {id_: own[id_] for id_ in settings["experiments"] if id_ in own}
        settings["own_experiments"] = {
            network: [id_ for id_ in ids if id_ in settings["experiments"]]
            for network, ids in settings["own_experiments"].items()
            if network in networks
        }
        return canonical_json(settings)

    def absent(self, name: str) -> str:
        """Why there is no such table or figure of the study, and the mend; empty where there is."""
        study = self._study
        if name == "figure2" and study.propagation not in study.labelled["pseudo"]:
            return f"{name} shows propagated labels, and the config asks for none: name an experiment such as p2."
        if name == "figure3" and not study.families["refined"]:
            return f"{name} shows refined labels, and the config asks for none: name one such as coarse-50-refined."
        if name in SHEETS:
            return ""
        if not self._trained:
            return f"{name} shows runs, and the config has none: name experiments, and a network in 'training'."
        if name == "clips" and not any(e.pseudo_offsets for e in self.experiments(name)):
            return (
                f"{name} compares mixtures with propagated labels of clips drawn at random, and the config has none: "
                "name one such as b3."
            )
        if name in CURVES and not CURVES[name]:
            return ""
        read = self._rows(name)
        own = [(row["network"], row[key]) for row in read["rows"] for key in _ARMS if key in row]
        if read["kind"] != "mixtures":
            own = [pair for pair in own if pair[1] != read.get("baseline")]
        if not self._trained & set(own):
            networks, ids = (list(dict.fromkeys(pair[i] for pair in own)) for i in range(2))
            few = ", ".join(ids[:_FEW]) + (" and others" if len(ids) > _FEW else "")
            return (
                f"{name} shows {' and '.join(networks)} trained on {few}, and the config has no such run: add some to "
                "'experiments' and the network to 'training', or choose a config that has."
            )
        classes = read.get("paper", {}).get("classes", study.classes)
        if name in TABLES and name not in study.tables and classes != study.classes:
            return (
                f"{name} is of a dataset with the classes '{classes}', and the config's has '{study.classes}': choose "
                f"a config of that dataset, or add {name} to 'tables' to have it of these runs all the same."
            )
        return ""
