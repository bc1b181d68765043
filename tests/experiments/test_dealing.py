"""The samples of every experiment: how many, of which clips, and what two of them share."""

import csv
import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.experiments.dealing import Stock, picks, stills_of
from fewframes.experiments.manifests import needed_labels
from fewframes.experiments.schemes import experiment_from, load_catalogue

EXPERIMENTS = Path(__file__).parents[2] / "workflow" / "experiments"
CATALOGUE = load_catalogue(EXPERIMENTS / "catalogue.yaml")
CHOSEN = [e for e in CATALOGUE.values() if (e.mixture or e).selection != "random"]
MINUTES = {"fine": 90.0, "coarse": 7.0}
IDS = st.lists(st.from_regex(r"[a-z]{1,6}_[0-9]{3}", fullmatch=True), unique=True, min_size=2, max_size=40)
DRAWS = st.integers(0, 3)


def clips(ids):
    return [Clip(i, "train", "g", "k.png", "f{frame}", 20, 1, -19, 10, "fine.png", coarse="coarse.png") for i in ids]


@lru_cache
def stills(count):
    return [Clip(f"still_{i:06d}", "train_extra", "g", "k.png", coarse="coarse.png") for i in range(count)]


@lru_cache
def stock(count):
    names = [f"c{i:05d}" for i in range(4000)]
    flow = {name: (float(i * 7919 % 4001),) for i, name in enumerate(names)}
    return Stock(stills(count), MINUTES, {"flow": flow, "diversity": flow})


def deal(name, ids, draw=0, extra=60):
    experiment = CATALOGUE[name] if isinstance(name, str) else name
    return picks(experiment, clips(ids), draw, stock(extra))


def half_up(count, percent):
    return int(count * percent / 100 + 0.5)


def clips_of(samples, *kinds):
    return {pick.clip.id for pick in samples if pick.kind in kinds}


@given(IDS, st.sampled_from(sorted(CATALOGUE.keys() - {e.id for e in CHOSEN})), DRAWS)
def test_an_experiments_samples_are_distinct_and_as_many_as_its_scheme_says(ids, name, draw):
    experiment, n = CATALOGUE[name], len(ids)
    if experiment.control == "hours" and n < 20:
        return  # a few coarse labels may buy no fine one
    samples = deal(name, ids, draw)
    known = [(p.clip.id, p.offset, p.kind) for p in samples]
    assert known == sorted(set(known))
    assert all((p.kind == "pseudo") == (p.offset != 0) for p in samples)
    assert all(p.still == experiment.still for p in samples)
    mixture = experiment.mixture or experiment
    k, coarse = len(mixture.offsets), half_up(n, mixture.coarse_percent)
    per_offset = n if mixture.clips == "all" else -(-n // k)
    if mixture.still and mixture.clips == "all":
        coarse = half_up(60, mixture.coarse_percent)
    fine = n if mixture.fine == "all" else n - half_up(n, mixture.coarse_percent)
    counts = Counter(p.kind for p in samples)
    if experiment.control == "hours":
        assert counts == Counter(fine=int(fine + coarse * 7 / 90 + 0.5))
    elif experiment.control == "fine":
        assert counts == +Counter(fine=fine if mixture.coarse_percent else per_offset)
    elif mixture.coarse_percent or mixture.still:
        kind = "refined" if mixture.labels == "refined" else "coarse"
        assert counts == +Counter({"fine": fine, kind: coarse})
        assert clips_of(samples, kind) <= ({c.id for c in stills(60)} if mixture.still else set(ids))
    else:
        assert counts == +Counter(
            fine=per_offset * (0 in mixture.offsets), pseudo=per_offset * len(mixture.pseudo_offsets)
        )
        assert Counter(p.offset for p in samples) == dict.fromkeys(mixture.offsets, per_offset)


@given(IDS, DRAWS)
def test_key_frames_alone_are_those_of_every_mixture_of_as_many_frames(ids, draw):
    for control, mixtures in {
        "p2-fine": ("p2", "p2s", "f2", "f2s"), "b3-fine": ("b3", "b3s"), "b5-fine": ("b5", "b5s"), "b7-fine": ("b7",),
        "b9-fine": ("b9",), "b11-fine": ("b11", "p11", "f11"),
    }.items():  # fmt: skip
        alone = deal(control, ids, draw)
        for mixture in mixtures:
            assert alone == [pick for pick in deal(mixture, ids, draw) if pick.kind == "fine"]
    assert clips_of(deal("p2-fine", ids, draw), "fine") == clips_of(deal("b2n", ids, draw), "pseudo")


@given(IDS, st.sampled_from([10, 25, 50, 75, 90]), DRAWS)
def test_a_fine_part_is_the_mixtures_own_and_its_hours_hold_it(ids, percent, draw):
    mixture, part = (deal(f"coarse-{percent}{end}", ids, draw) for end in ("", "-fine"))
    assert part == [pick for pick in mixture if pick.kind == "fine"]
    hours = deal(f"coarse-{percent}-hours", ids, draw) if len(ids) > 6 else part
    assert clips_of(part, "fine") <= clips_of(hours, "fine") <= set(ids)


@given(IDS, st.sampled_from([10, 50, 90]), DRAWS)
def test_both_pools_have_the_same_fine_samples_and_none_of_the_other_tells_by_its_memory(ids, percent, draw):
    train, extra = deal(f"coarse-{percent}", ids, draw), deal(f"extra-{percent}", ids, draw)
    assert clips_of(train, "fine") == clips_of(extra, "fine")
    assert not clips_of(extra, "coarse") & set(ids)
    assert {pick.still for pick in train} == {False} and {pick.still for pick in extra} == {True}
    part = deal("extra-50-fine", ids, draw)
    assert part == [pick for pick in deal("extra-50", ids, draw) if pick.kind == "fine"]


@given(IDS, st.sampled_from([e.id for e in CATALOGUE.values() if e.labels == "refined"]), DRAWS)
def test_raw_and_refined_mixtures_have_the_same_samples(ids, name, draw):
    raw, refined = deal(re.sub("-(refined|automask)(-all)?$", "", name), ids, draw), deal(name, ids, draw)
    renamed = [(p.clip.id, p.kind.replace("refined", "coarse"), p.still) for p in refined]
    assert sorted(renamed) == [(p.clip.id, p.kind, p.still) for p in raw]


@given(IDS, DRAWS)
def test_larger_shares_hold_the_smaller(ids, draw):
    for pool in ("coarse", "extra"):
        shares = [deal(f"{pool}-{percent}", ids, draw) for percent in (10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 100)]
        for less, more in pairwise(shares):
            assert clips_of(less, "coarse") <= clips_of(more, "coarse")
            assert clips_of(less, "fine") >= clips_of(more, "fine")


@given(IDS, st.sampled_from(["v3", "v11"]), DRAWS)
def test_spread_has_the_mixtures_manual_labels_and_every_clip(ids, name, draw):
    spread, mixture = deal(name, ids, draw), deal(name.replace("v", "b"), ids, draw)
    assert len(spread) == len(mixture)
    assert clips_of(spread, "fine") == clips_of(mixture, "fine")
    assert clips_of(spread, "fine", "pseudo") == set(ids)
    twice = len(spread) - len(ids)
    assert sum(Counter(pick.clip.id for pick in spread).values()) - len(ids) == twice < len(CATALOGUE[name].offsets)


@given(IDS, DRAWS)
def test_a_new_clip_moves_few_samples_of_a_spread(ids, draw):
    *old, _ = ids
    before, after = ({(p.clip.id, p.offset) for p in deal("v3", each, draw)} for each in (old, ids))
    # At most one clip at each border of the three offsets, and what rounding adds.
    assert len(before - after) <= 4


@given(IDS)
def test_everything_beside_everything(ids):
    beside = deal("extra-beside", ids)
    assert clips_of(beside, "fine") == set(ids) and clips_of(beside, "coarse") == {c.id for c in stills(60)}
    both = deal("coarse-beside", ids)
    assert clips_of(both, "fine") == clips_of(both, "coarse") == set(ids)
    plus = deal("n1-plus", ids)
    assert len(plus) == 3 * len(ids) and clips_of(plus, "fine") == clips_of(plus, "pseudo") == set(ids)


def test_only_what_draws_decide_is_drawn_more_than_once():
    ids = [f"c{i:05d}" for i in range(30)]
    for experiment in CATALOGUE.values():
        different = {tuple(deal(experiment, ids, draw)) for draw in (0, 1, 2)}
        assert len(different) == len(experiment.draws_of([0, 1, 2])), experiment.id


@pytest.mark.parametrize("kind", ["flow", "uniform", "diversity"])
def test_a_selection_decides_which_clips_and_nothing_else(kind):
    ids = [f"c{i:05d}" for i in range(30)]
    chosen, at_random = deal(f"b3-{kind}", ids), deal("b3", ids)
    assert [p.offset for p in chosen] == [p.offset for p in at_random]
    assert clips_of(chosen, "fine") == clips_of(chosen, "pseudo") != clips_of(at_random, "fine")
    control = experiment_from("c", CATALOGUE[f"b3-{kind}"].recipe | {"control": "fine"})
    assert deal(control, ids) == [p for p in chosen if p.kind == "fine"]


def test_the_doctor_can_count_labels_without_a_measurement():
    assert len(needed_labels([CATALOGUE["b3"]], clips("abcdef"), [0])[0]) == 2
    with pytest.raises(UserError, match="The flow of a was not measured"):
        needed_labels([CATALOGUE["b3-flow"]], clips("abcdef"), [0])


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("extra-50", Stock(stills(1), MINUTES), "takes 2 coarsely annotated images of split 'train_extra', .* has 1"),
        ("extra-all", Stock((), MINUTES), "takes 1 coarsely annotated images .* has 0"),
        ("coarse-50-hours", Stock(minutes={"fine": 90}), "no 'minutes' for both"),
        ("extra-all-hours", Stock(stills(60), MINUTES), "its mixture's hours buy, 5, and there are 4"),
        ("coarse-100-hours", Stock(minutes=MINUTES), "its mixture's hours buy, 0, and there are 4"),
    ],
)
def test_what_is_not_there_is_named(name, given, message):
    with pytest.raises(UserError, match=message):
        picks(CATALOGUE[name], clips("abcd"), 0, given)


def test_stills_are_those_with_a_coarse_label():
    known = [*clips("a"), *stills(2), Clip("s", "train_extra", "g", "k.png")]
    assert [clip.id for clip in stills_of(known)] == ["still_000000", "still_000001"]


CITYSCAPES = [f"c{i:05d}" for i in range(2975)]


def paper(table):
    with (EXPERIMENTS / "paper" / table).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("table", "eligible", "rows"), [("table1.csv", 2975, 18), ("table2.csv", 4032, 3)])
def test_counts_and_manual_shares_are_the_papers(table, eligible, rows):
    assert len(paper(table)) == rows
    for row in paper(table):
        samples = picks(CATALOGUE[row["scheme"].lower()], clips(f"c{i:04d}" for i in range(eligible)), 0)
        assert sorted({pick.offset for pick in samples}) == [int(o) for o in row["frame_offsets"].split()]
        assert len(samples) == int(row["total_samples"])
        assert f"{100 * sum(p.kind == 'fine' for p in samples) / len(samples):.2f}" == row["manual_percent"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("p2-fine", {"fine": 1488}),
        ("b3-fine", {"fine": 992}),
        ("b5-fine", {"fine": 595}),
        ("b7-fine", {"fine": 425}),
        ("b9-fine", {"fine": 331}),
        ("b11-fine", {"fine": 271}),
        ("v3", {"fine": 992, "pseudo": 1984}),
        ("n1-plus", {"fine": 2975, "pseudo": 5950}),
        ("b3-flow", {"fine": 992, "pseudo": 1984}),
        ("b3-diversity", {"fine": 992, "pseudo": 1984}),
        ("coarse-10", {"fine": 2677, "coarse": 298}),
        ("coarse-50", {"fine": 1487, "coarse": 1488}),
        ("coarse-50-fine", {"fine": 1487}),
        # 1,487 + 1,488 * 7 / 90 = 1,602.7
        ("coarse-50-hours", {"fine": 1603}),
        ("coarse-100-hours", {"fine": 231}),
        ("extra-50-refined", {"fine": 1487, "refined": 1488}),
        ("n1-still", {"fine": 2975}),
        ("extra-all", {"coarse": 19997}),
        ("extra-beside", {"fine": 2975, "coarse": 19997}),
        ("extra-all-hours", {"fine": 1555}),
        ("coarse-beside", {"fine": 2975, "coarse": 2975}),
    ],
)
def test_counts_on_cityscapes(name, counts):
    assert Counter(pick.kind for pick in deal(name, CITYSCAPES, extra=19997)) == counts
