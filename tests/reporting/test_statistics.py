from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.core.errors import UserError
from fewframes.reporting.statistics import Grid, Spread, pareto, read_runs, read_scores, spread


def grid_of(results, draws, seeds):
    experiments = ["b3"]
    return Grid(results, ("tmanet", "tdnet"), dict.fromkeys(experiments, draws), seeds)


def write_metrics(results: Path, network: str, experiment: str, draw: int, seed: int, text: str) -> None:
    path = results / "runs" / network / experiment / f"draw{draw}-seed{seed}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_an_experiment_may_have_seeds_of_its_own(tmp_path):
    settings = {"networks": ["tmanet"], "experiments": {"n1": [0], "b3": [0, 1, 2]}, "seeds": [0]}
    grid = Grid.of(tmp_path, {**settings, "own_seeds": {"n1": [0, 5]}})
    assert grid.runs_of("tmanet", "n1") == [(0, 0), (0, 5)]
    assert grid.runs_of("tmanet", "b3") == [(0, 0), (1, 0), (2, 0)]
    assert grid.runs_of("tmanet", "b11") == grid.runs_of("tdnet", "n1") == []
    for seed, miou in ((0, 0.5), (5, 0.7), (7, 0.9)):
        write_metrics(tmp_path, "tmanet", "n1", 0, seed, f"class,iou,accuracy\nmean,{50 * miou},{50 * miou}\n")
    assert set(read_runs(grid, "tmanet", "n1")) == {(0, 0), (0, 5)}


def test_a_network_may_have_experiments_of_its_own(tmp_path):
    settings = {"networks": ["tmanet", "tdnet"], "experiments": {"n1": [0], "b3": [0]}, "seeds": [0]}
    grid = Grid.of(tmp_path, {**settings, "own_experiments": {"tdnet": ["n1"]}})
    assert [n for n in grid.networks for e in grid.experiments if grid.takes(n, e)] == ["tmanet", "tmanet", "tdnet"]
    # The run of another config, which lies there still, does not count.
    for network in grid.networks:
        write_metrics(tmp_path, network, "b3", 0, 0, "class,iou,accuracy\nmean,50,60\n")
    assert read_runs(grid, "tmanet", "b3") == {(0, 0): (50, 60)} and read_runs(grid, "tdnet", "b3") == {}


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12))
def test_the_pareto_front_is_what_nothing_matches_at_its_cost(points):
    items = list(enumerate(points))
    front = pareto(items, lambda item: item[1][0], lambda item: item[1][1])
    undominated = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)}
    assert [point for _, point in front] == sorted(undominated)
    assert all(i == points.index(point) for i, point in front)


def test_spread_by_hand():
    # Draw 0: 10 and 14 (mean 12, squares 8); draw 1: 20 and 20 (mean 20, squares 0). All: mean 16,
    # squares 36 + 4 + 16 + 16 = 72 over 3. Draws: 12 and 20, squares 32 over 1. Within: 8 over 2.
    result = spread({(0, 0): 10.0, (0, 1): 14.0, (1, 0): 20.0, (1, 1): 20.0})
    assert (result.n, result.draws, result.seeds, result.mean) == (4, 2, 2, 16.0)
    assert result.sd == pytest.approx(24**0.5)
    assert result.sd_draws == pytest.approx(32**0.5)
    assert result.sd_seeds == pytest.approx(2.0)


def test_a_grid_with_holes_is_taken_as_it_is():
    result = spread({(0, 0): 1.0, (0, 1): 3.0, (2, 0): 5.0})
    assert (result.n, result.draws, result.seeds, result.mean) == (3, 2, 2, 3.0)
    assert result.sd == pytest.approx(2.0)
    assert result.sd_seeds == pytest.approx(2.0**0.5)


def test_one_run_has_a_mean_and_no_spread():
    assert spread({(0, 0): 7.5}) == Spread(n=1, draws=1, seeds=1, mean=7.5)


def test_seeds_alone_say_nothing_about_draws_and_the_reverse():
    seeds_only, draws_only = spread({(0, 0): 1.0, (0, 1): 2.0}), spread({(0, 0): 1.0, (1, 0): 2.0})
    assert seeds_only.sd_draws is None and seeds_only.sd_seeds == seeds_only.sd
    assert draws_only.sd_seeds is None and draws_only.sd_draws == draws_only.sd


def test_no_run_is_nothing():
    assert spread({}) == Spread()


@given(
    st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.floats(0, 100), min_size=2),
    st.floats(-50, 50),
)
def test_shifting_all_runs_shifts_the_mean_and_no_spread(values, shift):
    before, after = spread(values), spread({key: value + shift for key, value in values.items()})
    assert after.mean == pytest.approx(before.mean + shift, abs=1e-9)
    for measure in ("sd", "sd_draws", "sd_seeds"):
        old, new = getattr(before, measure), getattr(after, measure)
        assert (old is None) == (new is None)
        assert old is None or new == pytest.approx(old, abs=1e-6)


def test_only_the_grids_finished_runs_count(tmp_path):
    text = "class,iou,accuracy,pixels\nroad,90,95,10\nmean,{},{},10\n"
    write_metrics(tmp_path, "tmanet", "b3", 0, 0, text.format(50, 60))
    write_metrics(tmp_path, "tmanet", "b3", 1, 1, text.format(54, 62))
    write_metrics(tmp_path, "tmanet", "b3", 1, 0, text.format("", ""))  # no class was defined
    write_metrics(tmp_path, "tmanet", "b3", 5, 0, text.format(99, 99))  # a draw that is not planned
    scores = read_scores(grid_of(tmp_path, (0, 1), (0, 1)), "tmanet", "b3")
    assert (scores.miou.n, scores.miou.mean, scores.macc.mean) == (2, 52.0, 61.0)
    assert read_scores(grid_of(tmp_path, (0, 1), (0, 1)), "tdnet", "b3").miou == Spread()


@pytest.mark.parametrize("text", ["class,iou,accuracy\nroad,1,2\n", "class,iou,accuracy\nmean,high,2\n"])
def test_metrics_without_a_legible_mean_are_named(tmp_path, text):
    write_metrics(tmp_path, "tmanet", "b3", 0, 0, text)
    with pytest.raises(UserError, match=r"draw0-seed0/metrics\.csv .* 'mean'"):
        read_scores(grid_of(tmp_path, (0,), (0,)), "tmanet", "b3")


def test_classes_may_be_read_alone(tmp_path):
    text = "class,iou,accuracy\nroad,90,95\ncar,50,60\ntrain,,\nmean,70,77.5\n"
    write_metrics(tmp_path, "tmanet", "b3", 0, 0, text)
    grid = grid_of(tmp_path, (0,), (0,))
    assert read_runs(grid, "tmanet", "b3") == {(0, 0): (70, 77.5)}
    assert read_runs(grid, "tmanet", "b3", ("car", "train")) == {(0, 0): (50, 60)}
    assert read_runs(grid, "tmanet", "b3", ("train",)) == {}
    with pytest.raises(UserError, match="no legible row of these classes"):
        read_runs(grid, "tmanet", "b3", ("bus",))
