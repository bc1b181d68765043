"""Rounds: experiments whose labels are filled by a network that was trained on another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fewframes.core.errors import UserError
from fewframes.experiments.schemes import Experiment
from fewframes.experiments.trainings import Trainings


class Rounds:
    """Who fills the labels of a config's filled experiments; raises `UserError` where no run of the config can.

    `network` is the network whose runs fill, of each draw the one with the teacher's first seed.
    """

    def __init__(self, config: Mapping[str, Any], experiments: Sequence[Experiment], trainings: Trainings) -> None:
        self._by_id = {e.id: e for e in experiments}
        self._seeds = config["seeds"], config["undrawn_seeds"]
        self.network: str = config["filling"]["network"] or next(iter(trainings.networks), "")
        for experiment in experiments:
            if experiment.filled_by and trainings.networks:
                self._check(experiment, trainings)

    def unfilled(self, experiment: str) -> str:
        """The experiment whose labels, as they were propagated, a filled one fills: that with which rounds begin."""
        while self._by_id[experiment].filled_by:
            experiment = self._by_id[experiment].filled_by
        return experiment

    def teacher(self, experiment: str) -> str:
        """The experiment that a filled one is filled by."""
        return self._by_id[experiment].filled_by

    def run(self, experiment: str, draw: str | int) -> str:
        """The run whose model fills a filled experiment's labels, `<network>/<experiment>/draw<j>-seed<k>`."""
        teacher = self._by_id[self.teacher(experiment)]
        return f"{self.network}/{teacher.id}/draw{draw}-seed{teacher.seeds_of(*self._seeds)[0]}"

    def _check(self, experiment: Experiment, trainings: Trainings) -> None:
        if experiment.filled_by not in self._by_id:
            raise UserError(
                f"config: '{experiment.id}' is filled by a network trained on '{experiment.filled_by}': name that "
                "experiment too."
            )
        if self.network not in trainings.networks:
            raise UserError(
                f"config: filling.network is '{self.network}', which 'training' lacks: name one of "
                f"{', '.join(trainings.networks)}."
            )
        if not trainings.takes(self.network, experiment.filled_by):
            raise UserError(
                f"config: '{experiment.id}' is filled by {self.network} trained on '{experiment.filled_by}', which "
                f"training.{self.network}.experiments leaves out: add it there, or name another filling.network."
            )
