"""The forecast: jobs of a config, their paces, and the text; a dataset need not be there."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
import yaml

from fewframes.core.clips import LABEL_COLUMNS, Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import write_csv
from fewframes.forecast.dataset import Assumed, case_of
from fewframes.forecast.jobs import crops, jobs_of, reach
from fewframes.forecast.paces import paces, reference
from fewframes.forecast.text import costs_of, forecast

REPOSITORY = Path(__file__).parents[2]
CONFIG = {
    "dataset": {"name": "city", "root": "nowhere"},
    "shards": 2,
    "propagation": {"method": "flow"},
    "experiments": ["n1", "b3", "coarse-50-refined"],
    "draws": [0, 1],
    "seeds": [0, 1],
    "training": {"tmanet": {"network": {"backbone": "mobilenetv3_small_050", "output_stride": 16}}},
    "tables": ["table1"],
}
ASSUMED = Assumed(train=12, scored=4, stills=3)


@pytest.fixture
def planned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def plan(**changes):
        Path("study.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}))
        return case_of(Path("study.yaml"), REPOSITORY, ASSUMED)[0]

    return plan


def of(jobs, rule):
    return [job for job in jobs if job.rule == rule]


def test_every_run_is_trained_after_its_labels_and_scored(planned):
    jobs = jobs_of(planned())
    counts = Counter(job.rule for job in jobs if job.submitted)
    # N1 has one draw; two seeds each.
    assert counts["train"] == 2 + 4 + 4
    assert counts["evaluate"] == 3
    assert counts["propagate"] == counts["refine"] == 2
    by_name = {job.name: job for job in jobs}

    def upstream(name):
        return {name} | {up for earlier in by_name[name].after for up in upstream(earlier)}

    assert {f"propagate flow {s}" for s in ("0000", "0001")} <= upstream("train tmanet/b3/draw1-seed0")
    assert "refine grabcut 0001" in upstream("evaluate tmanet/coarse-50-refined")
    assert not {n for n in upstream("evaluate tmanet/n1") if n.startswith(("propagate", "refine"))}
    assert all(set(job.after) <= {earlier.name for earlier in jobs[:i]} for i, job in enumerate(jobs))


def test_frames_and_images_to_label_are_those_that_experiments_ask_for(planned):
    jobs = jobs_of(planned())
    # B3 takes ceil(12 / 3) clips in each of two draws, out to ten frames on both sides.
    frames = sum(job.units for job in of(jobs, "propagate"))
    assert 20 * 4 <= frames <= 20 * 8 and frames % 20 == 0
    images = sum(job.units for job in of(jobs, "refine"))
    assert 6 <= images <= 12


def test_a_network_is_planned_for_its_own_experiments_alone(planned):
    training = {**CONFIG["training"], "tdnet": {"experiments": ["n1"]}}
    runs = {job.name for job in of(jobs_of(planned(training=training)), "train") if "tdnet" in job.name}
    assert runs == {"train tdnet/n1/draw0-seed0", "train tdnet/n1/draw0-seed1"}


def test_a_pupil_waits_for_its_teachers_run(planned):
    training = {"tmanet": {**CONFIG["training"]["tmanet"]}, "tdnet": {"teacher": "tmanet"}}
    jobs = {job.name: job for job in jobs_of(planned(training=training))}
    assert "train tmanet/b3/draw1-seed0" in jobs["train tdnet/b3/draw1-seed0"].after


def test_a_training_holds_a_gpu_for_each_of_its_processes(planned):
    tmanet = {**CONFIG["training"]["tmanet"], "processes": 4}
    assert {job.gpus for job in of(jobs_of(planned(training={"tmanet": tmanet})), "train")} == {4}
    tmanet["device"] = "cpu"
    assert {job.gpus for job in of(jobs_of(planned(training={"tmanet": tmanet})), "train")} == {0}


def test_reach_runs_through_the_frames_between():
    clip = Clip("c", "train", "g", "i", frames="{frame}", key=20, first=-19, last=10)
    assert [reach(clip, offsets) for offsets in ((-10, 10), (10,), (-1, 0, 5), (0,))] == [20, 10, 6, 0]


def test_every_figure_says_where_it_is_from():
    for name, pace in reference().items():
        assert 0 <= pace.low <= pace.high, name
        assert pace.kind in ("measured", "published", "assumed") and pace.source, name
        # None of ours has been run on a GPU.
        assert pace.kind == "assumed" or "NVIDIA" not in pace.source, name


def test_readers_hold_up_a_fast_network():
    slow, fast = (
        paces(["train tdnet"], {"tdnet": {"workers": workers, "processes": 1}}, 1, [])["train tdnet"]
        for workers in (2, 64)
    )
    assert slow.low > fast.low and "read samples" in slow.source and "read samples" not in fast.source
    assert fast.high == reference()["train tdnet"].high


def times(path, seconds, modified=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t1\n")
    if modified:
        os.utime(path, (modified, modified))


def test_paces_are_measured_from_shards_without_labels_found(tmp_path):
    clips = [Clip(f"c{n}", "train", "g", "i", frames="{frame}", key=20, first=-19, last=10) for n in range(3)]
    write_clips(tmp_path / "index.csv", clips)
    for n, made in enumerate((900, 905, 100)):  # the last one lay there before the job began
        label = tmp_path / f"c{n}.h5"
        label.touch()
        os.utime(label, (made, made))
    rows = [(f"c{n}", offset, f"c{n}.h5", "", "") for n in range(3) for offset in (-10, 10)]
    write_csv(tmp_path / "pseudo/flow/0000.csv", LABEL_COLUMNS, rows)
    times(tmp_path / "benchmarks/propagate/flow/0000.tsv", 80, modified=910)
    pace = paces(["propagate flow"], {}, 1, [tmp_path])["propagate flow"]
    assert (pace.low, pace.high, pace.kind) == (2.0, 2.0, "measured")  # 80 s for twice 20 frames
    # A job that found all of its labels says nothing: the reference stands.
    times(tmp_path / "benchmarks/propagate/flow/0000.tsv", 1, modified=2000)
    assert paces(["propagate flow"], {}, 1, [tmp_path])["propagate flow"].source.startswith("83 ms")


def trained(results, settings, seconds, log=""):
    run = "runs/tmanet/n1/draw0-seed0"
    (results / run).mkdir(parents=True)
    told = {"iterations": settings["iterations"], "settings": settings}
    (results / run / "training.json").write_text(json.dumps(told))
    times(results / "benchmarks/train/tmanet/n1/draw0-seed0.tsv", seconds)
    (results / "logs/train/tmanet/n1").mkdir(parents=True)
    (results / "logs/train/tmanet/n1/draw0-seed0.log").write_text(log)


def test_trainings_of_another_structure_are_not_measured(tmp_path):
    settings = {"iterations": 1000, "batch_size": 8, "crop": [500, 500], "network": {"backbone": "resnet50c"}}
    trained(tmp_path, settings, 100, "training on NVIDIA A100, in float32.\nresuming at iteration 500\n")
    asked = {"tmanet": {**settings, "iterations": 40000}}
    pace = paces(["train tmanet"], asked, 1, [tmp_path])["train tmanet"]
    # 500 iterations were made in those 100 s.
    assert pace.kind == "measured" and pace.low == pytest.approx(100 / crops(settings, 500))
    assert "on NVIDIA A100" in pace.source
    asked["tmanet"]["network"] = {"backbone": "resnet18"}
    assert paces(["train tmanet"], asked, 1, [tmp_path])["train tmanet"].kind == "assumed"


def test_unreadable_times_and_absent_results_are_named(tmp_path):
    bad = tmp_path / "benchmarks/train/tmanet/n1/draw0-seed0.tsv"
    settings = {"iterations": 10, "batch_size": 1, "crop": [10, 10], "network": {}}
    trained(tmp_path, settings, 1)
    bad.write_text("half a")
    with pytest.raises(UserError, match=r"draw0-seed0\.tsv is no table of times"):
        paces(["train tmanet"], {"tmanet": settings}, 1, [tmp_path])
    with pytest.raises(UserError, match="gone holds no results"):
        paces([], {}, 1, [tmp_path / "gone"])


def test_gpu_hours_and_disk_are_summed_and_the_timeline_shrinks_with_gpus(planned):
    case = planned()
    costs = costs_of(case, [])
    low, high = costs.hours(costs.submitted)
    one, four = (max_end(costs, gpus) for gpus in (1, 4))
    assert 0 < low < high and four < one and one >= high
    text = forecast(Path("study.yaml"), REPOSITORY, ASSUMED)
    for said in ("12 train, 4 val, 3 train_extra", "pseudo flow", "to write", "1 GPU:", "16 GPUs:", "are assumed"):
        assert said in text


def max_end(costs, gpus):
    from fewframes.forecast.schedule import length, schedule

    return length(schedule(costs.jobs, costs.high, gpus, 16)) / 3600


def test_toy_city_is_planned_before_it_is_generated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(yaml.safe_dump({**CONFIG, "toycity": {"train": 5, "val": 3}}))
    case, where = case_of(Path("study.yaml"), REPOSITORY, None)
    assert Counter(clip.split for clip in case.clips) == {"train": 5, "val": 3, "train_extra": 24}
    assert "assumed" in where


def test_what_the_workflow_would_refuse_is_refused(planned):
    with pytest.raises(UserError, match=r"unknown experiments, b33 .*fewframes doctor"):
        planned(experiments=["b33"])
    planned()
    with pytest.raises(UserError, match=r"nowhere does not exist.*--assume"):
        case_of(Path("study.yaml"), REPOSITORY, None)
    planned(experiments=[], training={})
    assert "Slurm" in forecast(Path("study.yaml"), REPOSITORY, ASSUMED)  # preparation is work too
