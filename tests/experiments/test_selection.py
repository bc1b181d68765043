"""The orders in which clips are taken."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.core.files import write_csv
from fewframes.experiments.schemes import Experiment
from fewframes.experiments.selection import COLUMNS, drawn_order, farthest_first, read_measured, selected_order

IDS = st.lists(st.from_regex(r"[a-z]{1,6}_[0-9]{3}", fullmatch=True), unique=True, min_size=2, max_size=40)


def clips(ids):
    return [Clip(clip_id, "train", clip_id.split("_")[0], "k.png", key=i) for i, clip_id in enumerate(ids)]


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


@given(IDS, st.sampled_from(["random", "uniform", "flow", "diversity"]), st.randoms())
def test_every_selection_orders_all_clips_whatever_order_they_come_in(ids, selection, chance):
    measured = {"flow": {i: (float(len(i)),) for i in ids}, "diversity": {i: (float(len(i)), 1.0) for i in ids}}
    known = clips(ids)
    order = selected_order(selection, 0, known, measured)
    assert sorted(order, key=lambda clip: clip.id) == sorted(known, key=lambda clip: clip.id)
    chance.shuffle(known)
    assert selected_order(selection, 0, known, measured) == order
    assert (selected_order(selection, 1, known, measured) == order) or selection == "random"


@given(st.integers(1, 70), st.data())
def test_uniform_leaves_no_gap_twice_as_long_as_it_must(count, data):
    line = [Clip(f"c{i:03d}", "train", f"g{i // 7}", "k.png", key=i % 7) for i in range(count)]
    n = data.draw(st.integers(1, count))
    places = sorted(line.index(clip) for clip in selected_order("uniform", 0, line)[:n])
    assert places[0] == 0
    assert max(b - a for a, b in zip(places, [*places[1:], count], strict=True)) < 2 * count / n


def test_uniform_follows_time_not_names():
    drive = [Clip(name, "train", "g", "k.png", key=key) for name, key in (("a", 9), ("b", 1), ("c", 5), ("d", 3))]
    assert [clip.id for clip in selected_order("uniform", 0, drive)] == ["b", "c", "d", "a"]
    elsewhere = replace(drive[0], group="f")
    assert selected_order("uniform", 0, [elsewhere, *drive[1:]])[0].id == "a"


def test_flow_takes_most_motion_first_and_of_equals_the_first():
    measured = {"flow": {"a": (1.0,), "b": (3.0,), "c": (3.0,), "d": (2.0,)}}
    assert [clip.id for clip in selected_order("flow", 0, clips("dcba"), measured)] == ["b", "c", "d", "a"]
    with pytest.raises(UserError, match="The flow of e was not measured: run `snakemake` again"):
        selected_order("flow", 0, clips("abcde"), measured)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=st.integers(0, 255)))
def test_each_of_the_farthest_is_the_farthest(vectors):
    order = farthest_first(vectors)
    assert sorted(order) == list(range(len(vectors)))
    distance = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    radii = []
    for n in range(1, len(vectors)):
        to_nearest = distance[:, order[:n]].min(axis=1)
        assert to_nearest[order[n]] == to_nearest.max()
        radii.append(to_nearest.max())
    assert radii == sorted(radii, reverse=True)


def test_the_most_unlike_come_first():
    vectors = np.array([[0, 0], [0, 1], [200, 0], [0, 200], [1, 0], [60, 60]], np.float32)
    # The middle, then the corners; what is beside them last.
    assert farthest_first(vectors)[:4] == [5, 2, 3, 0]
    assert farthest_first(np.zeros((0, 2), np.float32)) == []


def test_what_was_measured_is_read_where_it_is_asked_for(tmp_path):
    plain, by_flow = Experiment("a", "A", (0, 1)), Experiment("b", "B", (0, 1), selection="flow")
    control = Experiment("c", "C", control="fine", mixture=by_flow)
    assert read_measured(tmp_path, [plain]) == {}
    with pytest.raises(UserError, match=r"flow\.csv cannot be read .* make it again with `snakemake`"):
        read_measured(tmp_path, [control])
    write_csv(tmp_path / "selection" / "flow.csv", COLUMNS, [("x", "f", "1.5"), ("y", "f", "2 3")])
    assert read_measured(tmp_path, [plain, control]) == {"flow": {"x": (1.5,), "y": (2.0, 3.0)}}
