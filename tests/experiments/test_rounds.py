"""Who fills the labels of filled experiments."""

from pathlib import Path

import pytest

from fewframes.core.errors import UserError
from fewframes.experiments.rounds import Rounds
from fewframes.experiments.schemes import chosen, load_catalogue
from fewframes.experiments.trainings import Trainings

CATALOGUE = load_catalogue(Path(__file__).parents[2] / "workflow/experiments/catalogue.yaml")
ROUNDS = ["b3", "b3-filled-1", "b3-filled-2"]


def rounds(experiments, network=None, training=None, seeds=(3, 0)):
    config = {
        "experiments": experiments,
        "filling": {"network": network},
        "training": {"tmanet": {}, "tdnet": {}} if training is None else training,
        "seeds": list(seeds),
        "undrawn_seeds": None,
        "weights": "weights",
    }
    return Rounds(config, chosen(CATALOGUE, experiments), Trainings(config, "results/x"))


def test_a_round_is_filled_by_the_one_before_and_fills_what_was_propagated():
    found = rounds(ROUNDS)
    assert [found.teacher(e) for e in ROUNDS[1:]] == ROUNDS[:-1]
    assert {found.unfilled(e) for e in ROUNDS[1:]} == {"b3"}
    assert found.run("b3-filled-2", 1) == "tmanet/b3-filled-1/draw1-seed3", "the first network, the first seed"
    assert rounds(ROUNDS, "tdnet").run("b3-filled-1", 0) == "tdnet/b3/draw0-seed3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experiments": ["b3", "b3-filled-2"]}, "trained on 'b3-filled-1': name that experiment too"),
        ({"experiments": ROUNDS, "network": "fanet"}, "filling.network is 'fanet', which 'training' lacks"),
        (
            {"experiments": ROUNDS, "training": {"tmanet": {"experiments": ["b3-filled-1"]}}},
            "training.tmanet.experiments leaves out",
        ),
    ],
)
def test_what_no_run_can_fill_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        rounds(**options)
