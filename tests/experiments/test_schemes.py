import re
from pathlib import Path

import pytest

from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.experiments.manifests import ineligible, needed_labels
from fewframes.experiments.schemes import KEYS, OTHER_KEYS, Experiment, chosen, experiment_from, load_catalogue

CATALOGUE = load_catalogue(Path(__file__).parents[2] / "workflow/experiments/catalogue.yaml")


def clips(ids):
    return [Clip(i, "train", "g", "k.png", "f{frame}", 20, 1, -19, 10, "fine.png", coarse="coarse.png") for i in ids]


@pytest.mark.parametrize(("percent", "count"), [(0, 0), (10, 298), (50, 1488), (90, 2678), (100, 2975)])
def test_coarse_counts_round_half_up(percent, count):
    experiment = CATALOGUE[f"coarse-{percent}"] if percent else CATALOGUE["n1"]
    assert experiment.coarse_count(2975) == count


def test_only_what_experiments_name_is_needed():
    eligible = clips(f"c{i:02d}" for i in range(30))
    pseudo, refined = needed_labels([CATALOGUE["n1"], CATALOGUE["p2"], CATALOGUE["b3"]], eligible, [0])
    assert len(pseudo) == 15 and not refined
    assert set(map(tuple, map(sorted, pseudo.values()))) == {(-10,), (-10, 10)}
    assert sum(o == {-10, 10} for o in pseudo.values()) == 10
    assert needed_labels([CATALOGUE["coarse-50-refined"]], eligible, [0, 1])[0] == {}
    assert len(needed_labels([CATALOGUE["coarse-50-refined"]], eligible, [0])[1]) == 15


def test_ineligible_for_one_is_ineligible_for_all():
    b3, coarse = CATALOGUE["b3"], CATALOGUE["coarse-10"]
    whole = clips(["c"])[0]
    assert ineligible(whole, [b3, coarse], 1) == ""
    assert ineligible(whole, [b3], 10) == "no past frame for the network at offset -10 (it looks 10 back)"

    def cut(**changes):
        return Clip(**{**vars(whole), **changes})

    assert ineligible(cut(last=9), [CATALOGUE["n1"], b3], 1) == "no frame at offset +10"
    assert ineligible(cut(fine=""), [b3], 1) == "no fine annotation"
    assert ineligible(cut(coarse=""), [b3, coarse], 1) == "no coarse annotation"
    assert ineligible(cut(coarse="", last=0), [CATALOGUE["n1"]], 1) == ""
    # What takes coarse labels from elsewhere asks neither for one here nor for frames before.
    extra = [CATALOGUE["extra-50"], CATALOGUE["extra-50-fine"]]
    assert ineligible(cut(coarse="", first=0, last=0), extra, 1) == ""
    assert ineligible(cut(coarse="", first=0, last=0), [*extra, CATALOGUE["n1"]], 1).startswith("no past frame")


def test_an_unknown_experiment_lists_the_known():
    with pytest.raises(UserError, match="'b4' is unknown: choose from n1, p2"):
        chosen(CATALOGUE, ["n1", "b4"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: {ofsets: [0]}", "'ofsets' is an unknown key"),
        ("x: {offsets: []}", "list of whole numbers"),
        ("x: {offsets: 3}", "list of whole numbers"),
        ("x: {offsets: [0.5]}", "list of whole numbers"),
        ("x: {offsets: [1, 1]}", "must be different"),
        ("x: {coarse_percent: 101}", "from 0 to 100"),
        ("x: {coarse_percent: many}", "from 0 to 100"),
        ("x: {labels: fine}", "labels must be raw or refined"),
        ("x: {control: all}", "control must be fine or hours"),
        ("x: {selection: [flow]}", "selection must be random or uniform or flow or diversity"),
        ("x: {coarse_pool: train_extra, offsets: [0, 5]}", "images of train_extra have no other frames"),
        ("x: {fine: all}", "fine: all is for mixtures of coarse labels"),
        ("x: {clips: spread}", "clips: spread deals several offsets"),
        ("x: {selection: flow}", "selection chooses among clips"),
        ("x: {selection: flow, coarse_percent: 50}", "selection chooses among clips"),
        ("x: {selection: flow, offsets: [0, 1], clips: all}", "selection chooses among clips"),
        ("x: {refinement: automask, coarse_percent: 50}", "give coarse_percent and labels: refined"),
        ("x: {refined_classes: all, coarse_percent: 50}", "refined_classes is of refined labels"),
        ("x: {refined_classes: some}", "refined_classes must be usual or all"),
        ("x: {filled_by: y}", "filled_by fills propagated labels"),
        ("x: {filled_by: y, offsets: [0, 1]}", "'x': filled_by names an experiment that the catalogue lacks"),
        ("x: {filled_by: x, offsets: [0, 1]}", "filled_by leads back to itself"),
        ("{x: {filled_by: y, offsets: [0, 1]}, y: {filled_by: x, offsets: [0, 1]}}", "filled_by leads back to itself"),
        ("{x: {offsets: [0, 1]}, y: {filled_by: x, offsets: [0, 2]}}", "'y': its samples must be those of 'x'"),
        ("{x: {offsets: [0, 1]}, y: {filled_by: x, offsets: [0, 1], control: fine}}", "a control has no filled labels"),
        ("x: {control: fine}", "a control is of a mixture"),
        ("x: {control: fine, coarse_percent: 50, labels: refined}", "a control has no refined labels"),
        ("x: {control: hours, offsets: [0, 1]}", "of propagated ones it is control: fine"),
        ("x: {control: fine, offsets: [-1, 1]}", "and it has none"),
        ("x: {control: fine, coarse_percent: 100}", "and it has none"),
        ("x: {offsets: [0, 1], coarse_percent: 5}", "cannot be mixed"),
        ("x: {clips: some}", "matched or all"),
        ("x:", "a recipe maps keys"),
        ("my_x: {offsets: [0]}", "small letters, digits and hyphens"),
        ("- x", "must map"),
        ("x: [", "is no readable YAML"),
    ],
)
def test_a_bad_catalogue_names_the_experiment(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_catalogue(path)


def test_a_recipe_is_the_whole_experiment():
    for experiment in CATALOGUE.values():
        named = {**experiment.recipe, "name": experiment.name}
        assert experiment_from(experiment.id, named) == experiment


def test_a_recipe_says_no_more_than_it_did_where_nothing_new_is_asked():
    """It is a param of the plan and of the manifests: another key would make them due everywhere."""
    recipe = {"offsets": (-10, 0, 10), "coarse_percent": 0, "labels": "raw", "clips": "matched"}
    assert CATALOGUE["b3"].recipe == Experiment("b3", "B3", (-10, 0, 10)).recipe == recipe
    assert CATALOGUE["b3-flow"].recipe == recipe | {"selection": "flow"}
    assert CATALOGUE["b3-fine"].recipe == recipe | {"control": "fine"}
    assert CATALOGUE["b3-filled-2"].recipe == recipe | {"filled_by": "b3-filled-1"}


def test_filled_labels_are_of_the_samples_that_they_fill():
    for round_ in (1, 2, 3):
        filled = CATALOGUE[f"b3-filled-{round_}"]
        assert filled.family == "filled"
        pseudo, refined = needed_labels([filled], clips(f"c{i:02d}" for i in range(30)), [0])
        assert (pseudo, refined) == needed_labels([CATALOGUE["b3"]], clips(f"c{i:02d}" for i in range(30)), [0])


def test_who_refines_every_class_is_a_variant_of_the_method():
    assert CATALOGUE["coarse-50-refined"].refining("grabcut") == "grabcut"
    assert CATALOGUE["coarse-50-refined-all"].refining("grabcut") == "grabcut_all"
    assert CATALOGUE["coarse-50-automask"].refining("grabcut") == "automask"
    both = {"coarse_percent": 50, "labels": "refined", "refinement": "sam_box", "refined_classes": "all"}
    assert experiment_from("x", both).refining("grabcut") == "sam_box_all"


def test_a_control_is_an_experiment_with_fine_labels_alone():
    """Whoever looks at an experiment, not at its mixture, must find it so: figures, budgets, the order of rules."""
    for experiment in CATALOGUE.values():
        if experiment.control:
            told = (experiment.offsets, experiment.coarse_percent, experiment.family, experiment.pseudo_offsets)
            assert told == ((0,), 0, "annotated", ())


def test_names_are_different():
    names = [experiment.name for experiment in CATALOGUE.values()]
    assert len(set(names)) == len(names)


def test_the_reference_knows_every_key_and_every_experiment():
    text = (Path(__file__).parents[2] / "docs/reference/experiments.md").read_text()
    for key in (*OTHER_KEYS, *KEYS):
        assert f"| `{key}` |" in text, key
    for words in KEYS.values():
        assert all(f"`{word}`" in text for word in words if word)
    for id_ in CATALOGUE:
        family = re.sub(r"^(coarse|extra)-\d+", r"\1-<p>", id_)
        assert f"`{id_}`" in text or f"`{family}`" in text, id_
