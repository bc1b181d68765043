import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.experiments.manifests import ineligible, needed_labels, picks
from fewframes.experiments.schemes import chosen, load_catalogue
from fewframes.experiments.selection import drawn_order

CATALOGUE = load_catalogue(Path(__file__).parents[2] / "workflow/experiments/catalogue.yaml")
IDS = st.lists(st.from_regex(r"[a-z]{1,6}_[0-9]{3}", fullmatch=True), unique=True, min_size=2, max_size=40)


def clips(ids):
    return [Clip(i, "train", "g", "k.png", "f{frame}", 20, 1, -19, 10, "fine.png", coarse="coarse.png") for i in ids]


@given(IDS, st.integers(0, 5), st.integers(0, 40))
def test_draws_nest_and_a_new_clip_displaces_at_most_one(ids, draw, n):
    *old, new = ids
    before, after = drawn_order(draw, old)[:n], drawn_order(draw, ids)[:n]
    assert len(set(before) - set(after)) <= 1
    assert set(after) <= {*before, new} or n > len(old)
    assert drawn_order(draw, ids)[: n // 2] == after[: n // 2]


def test_draws_differ():
    ids = [f"c{i}" for i in range(50)]
    assert len({tuple(drawn_order(draw, ids)) for draw in range(5)}) == 5


@given(IDS, st.sampled_from(sorted(CATALOGUE)), st.integers(0, 3))
def test_an_experiments_samples_are_distinct_and_as_many_as_its_scheme_says(ids, name, draw):
    experiment = CATALOGUE[name]
    samples = picks(experiment, clips(ids), draw)
    n, k = len(ids), len(experiment.offsets)
    taken = n if experiment.clips == "all" else -(-n // k)
    assert len(samples) == len({(p.clip.id, p.offset) for p in samples}) == taken * k
    assert [(p.clip.id, p.offset) for p in samples] == sorted((p.clip.id, p.offset) for p in samples)
    assert all((p.kind == "pseudo") == (p.offset != 0) for p in samples)
    assert sum(p.kind in ("coarse", "refined") for p in samples) == experiment.coarse_count(n)


@given(IDS, st.sampled_from([10, 20, 50, 90, 100]), st.integers(0, 3))
def test_raw_and_refined_mixtures_have_the_same_samples(ids, percent, draw):
    raw = picks(CATALOGUE[f"coarse-{percent}"], clips(ids), draw)
    refined = picks(CATALOGUE[f"coarse-{percent}-refined"], clips(ids), draw)
    renamed = {"refined": "coarse"}
    assert [(p.clip, p.kind) for p in raw] == [(p.clip, renamed.get(p.kind, p.kind)) for p in refined]


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
        ("x: {labels: fine}", "raw or refined"),
        ("x: {offsets: [0, 1], coarse_percent: 5}", "cannot be mixed"),
        ("x: {clips: some}", "matched or all"),
        ("x:", "a recipe maps keys"),
        ("my_x: {offsets: [0]}", "small letters, digits and hyphens"),
        ("- x", "must map"),
        ("x: [", "not a readable catalogue"),
    ],
)
def test_a_bad_catalogue_names_the_experiment(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_catalogue(path)


def test_counts_and_manual_shares_are_the_papers():
    reference = Path(__file__).parents[2] / "workflow/experiments/paper/table1.csv"
    eligible = clips(f"c{i:04d}" for i in range(2975))
    with reference.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    for row in rows:
        experiment = CATALOGUE[row["scheme"].lower()]
        samples = picks(experiment, eligible, 0)
        assert list(experiment.offsets) == [int(o) for o in row["frame_offsets"].split()]
        assert len(samples) == int(row["total_samples"])
        manual = 100 * sum(p.kind == "fine" for p in samples) / len(samples)
        assert f"{manual:.2f}" == row["manual_percent"]


def test_only_experiments_that_choose_are_drawn_more_than_once():
    eligible = clips(f"c{i:02d}" for i in range(30))
    for experiment in CATALOGUE.values():
        different = {tuple(picks(experiment, eligible, draw)) for draw in (0, 1, 2)}
        assert len(different) == len(experiment.draws_of([0, 1, 2])), experiment.id
