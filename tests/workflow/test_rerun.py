"""What runs again when something changes, each in one invocation (DESIGN of the flow: docs/explanation/reruns.md)."""

import os
import re
import time

import numpy as np
import pytest
from PIL import Image
from study import CONFIG, EXPERIMENTS

pytestmark = pytest.mark.slow


def edited(study, clip, kind="gtFine"):
    """Change a few pixels of a clip's annotation from road to sidewalk, and give it a new time."""
    (path,) = study.folder.glob(f"city/{kind}/train/*/{clip}_{kind}_labelIds.png")
    label = np.array(Image.open(path))
    rows, columns = np.nonzero(label == 7)
    assert rows.size > 20
    label[rows[:20], columns[:20]] = 8
    Image.fromarray(label).save(path)
    return path


def clips_of(study, experiment):
    return {line.split(",")[0] for line in study.manifest(experiment).splitlines()[1:]}


def training_clips(study):
    return sorted(
        p.name.removesuffix("_gtFine_labelIds.png") for p in study.folder.glob("city/gtFine/train/*/*labelIds.png")
    )


def test_the_first_run_made_everything(finished_study):
    assert set(finished_study.models()) == set(EXPERIMENTS)
    finished_study.assert_true_inputs()
    for name in ("quality/flow.csv", "tables/table1.md", "tables/table3.tex", "figures/figure4.png"):
        assert (finished_study.results / name).stat().st_size > 0


def test_a_second_run_finds_nothing_to_do(study):
    run = study.run()
    assert run.code == 0 and run.jobs == [] and "Nothing to be done" in run.output


def test_touching_the_dataset_recomputes_nothing(study):
    before = study.label_files(), study.models()
    now = time.time()
    for path in study.folder.glob("city/**/*.png"):
        os.utime(path, (now, now))
    run = study.run()
    assert run.code == 0, run.output
    assert (study.label_files(), study.models()) == before
    # The plan looks; shards whose frames were touched are visited and find all their clips by content.
    looked = {"prepare", "plan", "propagate", "refine", "collect_pseudo", "collect_refined", "all"}
    looked |= {"manifests_annotated", "manifests_propagated", "manifests_refined"}
    # What shows fine labels looks at them again.
    looked |= {"refinement_quality", "sheet", "site"}
    assert {rule for rule, _ in run.jobs} <= looked
    assert study.run().jobs == []


def users_of(study, clip, source):
    """The experiments whose samples rest on a clip's annotation by `source`."""
    kinds = {"fine": (",fine,", ",pseudo:"), "coarse": (",coarse,", ",refined:")}[source]
    return {
        experiment
        for experiment in EXPERIMENTS
        for line in study.manifest(experiment).splitlines()
        if line.startswith(f"{clip},") and any(kind in line for kind in kinds)
    }


@pytest.mark.parametrize("user", ["b3", "coarse-50-refined"])
def test_one_edited_annotation_is_one_clip_and_its_experiments(study, user):
    clip = next(c for c in training_clips(study) if user in users_of(study, c, "fine"))
    users = users_of(study, clip, "fine")
    labels, models = study.label_files(), study.models()
    edited(study, clip)
    run = study.run()
    assert run.code == 0, run.output
    new = set(study.label_files()) - set(labels)
    assert [name.startswith(clip) for name in new] == [True]
    assert len(run.of("propagate")) == 1
    assert {"n1", user} <= users < set(EXPERIMENTS)
    assert run.experiments("train") == run.experiments("evaluate") == users
    assert {e for e, when in study.models().items() if when != models[e]} == users
    assert study.run().jobs == []


def test_an_edited_coarse_label_re_trains_only_what_uses_it(study):
    lines = study.manifest("coarse-50").splitlines()
    clip = next(line.split(",")[0] for line in lines if ",coarse," in line)
    edited(study, clip, "gtCoarse")
    run = study.run()
    assert run.code == 0, run.output
    assert run.of("propagate") == [] and len(run.of("refine")) == 1
    assert run.experiments("train") == {"coarse-50", "coarse-50-refined"}


def test_an_edited_clip_that_no_experiment_uses_trains_nothing(study):
    study.configure(experiments=["b3"])
    assert study.run().code == 0
    clip = min(set(training_clips(study)) - clips_of(study, "b3"))
    edited(study, clip)
    run = study.run()
    assert run.code == 0, run.output
    # It is still measured, so it is propagated again; nobody trains on it.
    assert len(run.of("propagate")) == 1 and run.of("label_quality")
    assert run.of("train") == run.of("evaluate") == []


def test_another_experiment_is_trained_alone(study):
    models = study.models()
    study.configure(experiments=[*EXPERIMENTS, "p2"])
    run = study.run()
    assert run.code == 0, run.output
    assert run.experiments("train") == {"p2"}
    study.assert_true_inputs()
    assert {e: study.models()[e] for e in models} == models


def test_new_work_beside_a_touched_dataset_reads_its_own_files(study):
    models = study.models()
    for path in study.folder.glob("city/gt*/train/*/*.png"):
        path.touch()
    study.configure(seeds=[0, 1])
    run = study.run()
    assert run.code == 0, run.output
    assert len(run.of("train")) == len(run.of("evaluate")) == len(EXPERIMENTS)
    assert all("seed=1" in wildcards for wildcards in run.of("train"))
    study.assert_true_inputs()
    assert models.keys() == study.models().keys()
    assert study.run().jobs == []


def test_new_work_beside_an_unchanged_label_reads_its_own_files(study):
    # Another spelling of the default: shards are visited and find all; a new learning rate trains on the same samples.
    training = {"tmanet": {**CONFIG["training"]["tmanet"], "lr": 0.02}}
    for path in study.folder.glob("city/leftImg8bit_sequence/train/*/*.png"):
        path.touch()
    study.configure(training=training)
    run = study.run()
    assert run.code == 0, run.output
    assert len(run.of("train")) == len(EXPERIMENTS)
    study.assert_true_inputs()
    assert study.run().jobs == []


def test_reordered_settings_change_nothing(study):
    training = {"tmanet": dict(reversed(CONFIG["training"]["tmanet"].items()))}
    study.configure(training=training)
    assert study.run().jobs == []


def test_another_learning_rate_only_trains(study):
    study.configure(training={"tmanet": {**CONFIG["training"]["tmanet"], "lr": 0.02}})
    run = study.run(options=["--dry-run"])
    assert run.experiments("train") == set(EXPERIMENTS)
    assert not {"plan", "propagate", "refine"} & {rule for rule, _ in run.jobs}


def test_settings_that_no_result_depends_on_change_the_report_alone(study):
    study.configure(training={"tmanet": {**CONFIG["training"]["tmanet"], "checkpoint_every": 1, "workers": 0}})
    assert {rule for rule, _ in study.run().jobs} == {"site", "all"}, "which shows the config"


def test_another_setting_of_refinement_spares_propagation(study):
    study.configure(refinement={"grabcut": {"max_growth": 1.0}})
    run = study.run()
    assert run.code == 0, run.output
    assert run.of("propagate") == [] and len(run.of("refine")) == 2
    assert run.experiments("train") == {"coarse-50-refined"}


def test_further_draws_train_only_what_they_change(study):
    study.configure(draws=[0, 1], experiments=["n1", "b3"])
    run = study.run()
    assert run.code == 0, run.output
    assert run.of("train") == ["network=tmanet, experiment=b3, draw=1, seed=0"]
    study.assert_true_inputs()
    table = (study.results / "tables/table1.md").read_text()
    assert re.search(r"N1 .*\(1\)", table) and re.search(r"B3 .*\(2\)", table)


def test_an_experiment_is_one_evaluation_and_only_changed_runs_are_counted_anew(study):
    study.configure(draws=[0, 1], seeds=[0, 1], experiments=["n1", "b3"])
    run = study.run("tables")
    assert run.code == 0, run.output
    # N1 leaves nothing to the draw, so it is run in the first alone.
    assert run.of("evaluate") == ["network=tmanet, experiment=b3"]
    assert run.of("evaluate_once") == ["network=tmanet, experiment=n1"]
    study.assert_true_inputs()
    scores = {p: p.read_text() for p in study.results.glob("runs/tmanet/*/*/metrics.csv")}
    assert len(scores) >= 6

    (study.results / "runs/tmanet/b3/draw1-seed0/model.safetensors").unlink()
    kept = {p: p.stat().st_mtime_ns for p in study.results.glob("runs/tmanet/*/*/scored.npz")}
    run = study.run("tables")
    assert run.code == 0, run.output
    assert run.of("train") == ["network=tmanet, experiment=b3, draw=1, seed=0"]
    assert run.of("evaluate") == ["network=tmanet, experiment=b3"] and run.of("evaluate_once") == []
    log = (study.results / "logs/evaluate/tmanet/b3.log").read_text()
    # The same training gives the same model, to the byte: so even that is found.
    assert log.count("found as it was") == 4
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert {p: p.read_text() for p in scores} == scores
    assert study.run("tables").jobs == []


def test_a_deleted_label_file_is_made_again_as_its_message_says(study):
    labels = study.label_files()
    (study.results / "pseudo/flow/labels" / min(labels)).unlink()
    run = study.run("labels", options=["--forcerun", "propagate", "refine"])
    assert run.code == 0, run.output
    after = study.label_files()
    assert after.keys() == labels.keys() and sum(after[name] != labels[name] for name in labels) == 1
    run = study.run()
    assert run.code == 0, run.output
    assert run.of("train") == run.of("label_quality") == []


def test_a_corrected_truth_is_measured_again(study):
    before = (study.results / "quality/flow.csv").read_text()
    for path in study.folder.glob("city-truth/train/*/*_labelIds.png"):
        Image.fromarray(np.full_like(np.array(Image.open(path)), 7)).save(path)
    run = study.run()
    assert run.code == 0, run.output
    assert (study.results / "quality/flow.csv").read_text() != before
    assert run.of("propagate") == run.of("train") == []


def test_the_report_is_made(study):
    run = study.run(options=["--report", "report.html"])
    assert run.code == 0, run.output
    text = (study.folder / "report.html").read_text()
    assert "Mixtures of manual and propagated labels" in text and "figure2.png" in text


def test_a_dataset_copied_without_its_times_makes_no_label_anew(study):
    labels, models = study.label_files(), study.models()
    for path in study.folder.glob("city/**/*.png"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    run = study.run()
    assert run.code == 0, run.output
    assert (study.label_files(), study.models()) == (labels, models)


@pytest.mark.parametrize(
    ("lost", "made"),
    [
        ("prepare.ran", {"prepare"}),
        ("plan.ran", {"plan"}),
        ("pseudo/flow/0000.csv", {"propagate"}),
        ("refined/grabcut/labels.csv", {"collect_refined"}),
        ("manifests/b3/draw0.csv", {"manifests_propagated"}),
        ("runs/tmanet/b3/draw0-seed0/model.safetensors", {"train", "evaluate"}),
    ],
)
def test_what_failed_is_tried_again(study, lost, made):
    # A job that fails leaves none of its outputs, and all below it as they were.
    before = study.models()
    (study.results / lost).unlink()
    run = study.run()
    assert run.code == 0, run.output
    assert made <= {rule for rule, _ in run.jobs} and (study.results / lost).is_file()
    after = study.models()
    assert {e for e in EXPERIMENTS if before[e] != after[e]} == ({"b3"} if "train" in made else set())
    study.assert_true_inputs()
    assert study.run().jobs == []
