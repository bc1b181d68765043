"""The forecast: jobs of a config, their paces, and the text; a dataset need not be there."""

import json
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from fewframes.core import files
from fewframes.core.clips import LABEL_COLUMNS, Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import JOB, write_csv
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.doctor.disk import examine_disk, frame_pixels
from fewframes.forecast.dataset import Assumed, case_of
from fewframes.forecast.jobs import crops, jobs_of, reach
from fewframes.forecast.measured import Asked
from fewframes.forecast.paces import paces, reference
from fewframes.forecast.slurm import read_limits
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


def test_a_method_refines_what_its_experiments_name(planned):
    case = planned(
        experiments=["coarse-50-automask", "extra-10-refined"],
        refinement={"method": "none", "automask": {"weights": "random", "config": "small"}},
        quality={"refinements": ["grabcut"]},
        draws=[0],
        allow_random_weights=True,
    )
    images = Counter()
    for job in of(jobs_of(case), "refine"):
        images[job.pace] += job.units
    # Half of twelve clips, which have fine labels too and are so refined by all; of stills a tenth of twelve by one.
    assert images == {"refine automask": 6, "refine grabcut": 6, "refine none": 7}


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
        assert pace.kind in ("measured", "published", "assumed"), name
        # The figure's own source; the hardware that it is of; and the day.
        assert re.fullmatch(r".{10,}; .{5,}, 20\d\d-\d\d-\d\d", pace.source), name


def test_readers_hold_up_a_fast_network():
    slow, fast = (
        paces(["train tdnet"], Asked({"tdnet": {"workers": workers, "processes": 1}}), [])["train tdnet"]
        for workers in (2, 64)
    )
    assert slow.low > fast.low and "read samples" in slow.source and "read samples" not in fast.source
    assert fast.high == reference()["train tdnet"].high


def times(path, seconds, modified=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t1\n")
    if modified:
        os.utime(path, (modified, modified))


SIZE = (8, 10)


def labels(path, modified, **provenance):
    """A file of labels that was made on a processor."""
    layer = Layer(np.zeros(SIZE, np.uint8), "", notes={"device": "processor"})
    write_label_file(path, dict.fromkeys((-10, 0, 10), layer), {"settings": {"finest_scale": 1}, **provenance})
    os.utime(path, (modified, modified))


def test_paces_are_measured_from_shards_without_labels_found(tmp_path):
    clips = [Clip(f"c{n}", "train", "g", "i", frames="{frame}", key=20, first=-19, last=10) for n in range(3)]
    write_clips(tmp_path / "index.csv", clips)
    for n, made in enumerate((900, 905, 100)):  # the last one lay there before the job began
        labels(tmp_path / f"c{n}.h5", made)
    rows = [(f"c{n}", offset, f"c{n}.h5", "", "") for n in range(3) for offset in (-10, 10)]
    write_csv(tmp_path / "pseudo/flow/0000.csv", LABEL_COLUMNS, rows)
    times(tmp_path / "benchmarks/propagate/flow/0000.tsv", 80, modified=910)
    flow = Asked(labelling={"propagate flow": {"finest_scale": 1}}, pixels=SIZE[0] * SIZE[1])
    pace = paces(["propagate flow"], flow, [tmp_path])["propagate flow"]
    assert (pace.low, pace.high, pace.kind) == (2.0, 2.0, "measured")  # 80 s for twice 20 frames
    # With larger frames, other settings, or where a GPU was meant.
    large = paces(["propagate flow"], replace(flow, pixels=flow.pixels * 10), [tmp_path])["propagate flow"]
    assert (large.low, large.high) == (20.0, 20.0) and "by pixels" in large.source
    others = replace(flow, labelling={"propagate flow": {"finest_scale": 0}}), replace(flow, on_gpu={"propagate flow"})
    for other in others:
        assert paces(["propagate flow"], other, [tmp_path])["propagate flow"].source.startswith("83 ms")
    # A job that found all of its labels says nothing: the reference stands.
    times(tmp_path / "benchmarks/propagate/flow/0000.tsv", 1, modified=2000)
    assert paces(["propagate flow"], flow, [tmp_path])["propagate flow"].source.startswith("83 ms")


def test_what_runs_at_a_size_of_its_own_is_brought_to_other_frames_within_bounds(tmp_path):
    labels(tmp_path / "c.h5", 900)
    write_csv(tmp_path / "refined/automask/0000.csv", LABEL_COLUMNS, [("c", 0, "c.h5", "", "")])
    times(tmp_path / "benchmarks/refine/automask/0000.tsv", 6, modified=905)
    for factor, bounds in ((1, (6, 6)), (10, (6, 60)), (0.5, (3, 6))):
        asked = Asked(labelling={"refine automask": {}}, pixels=int(SIZE[0] * SIZE[1] * factor))
        pace = paces(["refine automask"], asked, [tmp_path])["refine automask"]
        assert (pace.low, pace.high) == pytest.approx(bounds)


def test_fillings_and_evaluations_are_measured(tmp_path):
    settings = {"iterations": 10, "batch_size": 1, "crop": [10, 10], "network": {"backbone": "resnet18"}}
    trained(tmp_path, settings, 1)
    asked = Asked({"tmanet": settings}, own=tmp_path, pixels=SIZE[0] * SIZE[1])
    steps = ["fill tmanet", "evaluate tmanet"]
    assert {pace.kind for pace in paces(steps, asked, [tmp_path]).values()} == {"assumed"}
    write_csv(tmp_path / "manifests/evaluation.csv", ("clip",), [("a",), ("b",)])
    for seed, made in enumerate((900, 100)):  # the second one was scored before
        kept = tmp_path / f"runs/tmanet/n1/draw0-seed{seed}/scored.npz"
        kept.parent.mkdir(exist_ok=True)
        kept.touch()
        os.utime(kept, (made, made))
    times(tmp_path / "benchmarks/evaluate/tmanet/n1.tsv", 10, modified=905)
    found = paces(steps, asked, [tmp_path])
    # Ten seconds for two frames; filling is taken to be like it until it is measured itself.
    assert found["evaluate tmanet"].low == found["fill tmanet"].low == 5.0
    model = "results/toy/runs/tmanet/n1/draw0-seed0/model.safetensors"
    labels(tmp_path / "f.h5", 900, model=model)
    write_csv(tmp_path / "filled/b3-filled-1/draw0.csv", LABEL_COLUMNS, [("c", o, "f.h5", "", "") for o in (-10, 10)])
    times(tmp_path / "benchmarks/fill/b3-filled-1/draw0.tsv", 8, modified=905)
    found = paces(steps, asked, [tmp_path])
    assert (found["fill tmanet"].low, found["evaluate tmanet"].low) == (4.0, 5.0)


def test_fill_jobs_take_the_network_that_fills_and_count_propagated_labels(planned):
    tdnet = {"network": {"width": 8}}
    training = {**CONFIG["training"], "tdnet": tdnet}
    case = planned(experiments=["b3", "b3-filled-1"], draws=[0], training=training, filling={"network": "tdnet"})
    (fill,) = of(jobs_of(case), "fill")
    # B3 takes ceil(12 / 3) clips, two of whose three labels are propagated.
    assert (fill.pace, fill.units) == ("fill tdnet", 8)
    parts = " ".join(examine_disk(case, {}).facts)
    assert re.search(r"filled b3-filled-1 .* 8 labels", parts)


def test_an_assumed_dataset_is_not_waited_for(planned, monkeypatch):
    monkeypatch.setenv(JOB, "7")
    monkeypatch.setattr(files.time, "sleep", lambda seconds: pytest.fail("it waits"))
    assert frame_pixels(planned()) == 2048 * 1024


def test_jobs_are_stopped_when_the_profile_says():
    limits = read_limits(REPOSITORY)
    hours = {"propagate": 10, "train": 10, "label_quality": 1.5, "evaluate": 1}
    # 480 minutes and more at the next try; a day; an hour, as what the profile does not name; 120 minutes.
    assert {rule: limits.tries(rule, 3600 * h) for rule, h in hours.items()} == {
        "propagate": 2,
        "train": 1,
        "label_quality": 2,
        "evaluate": 1,
    }
    # At most a day: 8, 16, 24, 24 hours.
    assert limits.tries("propagate", 3600 * 49) == 4


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
    pace = paces(["train tmanet"], Asked(asked), [tmp_path])["train tmanet"]
    # 500 iterations were made in those 100 s.
    assert pace.kind == "measured" and pace.low == pytest.approx(100 / crops(settings, 500))
    assert "on NVIDIA A100" in pace.source
    asked["tmanet"]["network"] = {"backbone": "resnet18"}
    assert paces(["train tmanet"], Asked(asked), [tmp_path])["train tmanet"].kind == "assumed"


def test_unreadable_times_and_absent_results_are_named(tmp_path):
    bad = tmp_path / "benchmarks/train/tmanet/n1/draw0-seed0.tsv"
    settings = {"iterations": 10, "batch_size": 1, "crop": [10, 10], "network": {}}
    trained(tmp_path, settings, 1)
    bad.write_text("half a")
    with pytest.raises(UserError, match=r"draw0-seed0\.tsv is no table of times"):
        paces(["train tmanet"], Asked({"tmanet": settings}), [tmp_path])
    with pytest.raises(UserError, match="gone holds no results"):
        paces([], Asked(), [tmp_path / "gone"])


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
