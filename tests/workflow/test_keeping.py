"""Damage, verify, mend and run again: just what was broken is made anew. Prune: nothing is due after it."""

import csv
import subprocess
import sys

import h5py
import pytest
from study import environment

pytestmark = pytest.mark.slow


def call(study, *arguments):
    command = [sys.executable, "-m", "fewframes", *arguments, "study.yaml"]
    return subprocess.run(command, cwd=study.folder, env=environment(), capture_output=True, text=True)


def contents(study, folder):
    return {p.name: p.read_bytes() for p in sorted((study.results / folder).glob("*.*"))}


def labels(study, shard):
    with (study.results / f"pseudo/flow/{shard}.csv").open() as file:
        return [study.results / row["file"] for row in csv.DictReader(file)]


def test_what_is_damaged_is_named_and_comes_back_with_the_fewest_jobs(study):
    assert call(study, "verify").returncode == 0
    tables, models, shards = contents(study, "tables"), study.models(), contents(study, "pseudo/flow")
    damaged, deleted = labels(study, "0000")[0], labels(study, "0001")[-1]
    with h5py.File(damaged, "r+") as file:
        layer = next(iter(file["labels"].values()))
        pixels = layer[()]
        pixels[0, 0] ^= 1
        layer[...] = pixels
    deleted.unlink()
    model, scores = (study.results / f"runs/tmanet/{name}" for name in ("n1/draw0-seed0", "b3/draw0-seed0"))
    model, scores = model / "model.safetensors", scores / "metrics.csv"
    weights = bytearray(model.read_bytes())
    weights[-100] ^= 1
    model.write_bytes(weights)
    scores.write_text(scores.read_text().replace("mean,", "mean,9"))
    table = study.results / "tables/table3.csv"
    table.write_text(table.read_text() + "\n")

    found = call(study, "verify", "--list", "list.csv")
    assert found.returncode == 1, found.stderr
    listed = (study.folder / "list.csv").read_text()
    for name in (damaged.name, deleted.name, "n1/draw0-seed0/model.safetensors", "b3/draw0-seed0/metrics.csv"):
        assert name in listed
    mended = call(study, "verify", "--mend")
    assert "snakemake --cores all --configfile study.yaml" in mended.stdout, mended.stderr
    assert not model.exists() and not damaged.exists() and not table.exists()

    run = study.run()
    assert run.code == 0, run.output
    assert run.experiments("train") == run.experiments("evaluate") == {"n1"}
    assert len(run.of("propagate")) == 2 and run.of("refine") == []
    assert {e for e, when in study.models().items() if when != models[e]} == {"n1"}
    assert contents(study, "tables") == tables
    after = contents(study, "pseudo/flow")
    assert {name: after[name] for name in shards if name.endswith(".csv")} == {
        name: content for name, content in shards.items() if name.endswith(".csv")
    }
    again = call(study, "verify")
    assert again.returncode == 0, again.stdout
    assert study.run().jobs == []


def test_after_pruning_nothing_is_due_and_all_is_whole(study):
    used = study.label_files()
    clip = next(iter(used)).rpartition("-")[0]
    unused = study.results / f"pseudo/flow/labels/{clip}-0123456789abcdef.h5"
    unused.write_bytes(b"superseded")
    left = study.results / "runs/tmanet/b3/draw0-seed0/checkpoints/last.pt"
    left.parent.mkdir()
    left.write_bytes(b"left")
    study.configure(experiments=["n1", "b3", "coarse-50"])
    assert study.run().code == 0
    dry = call(study, "prune", "--runs", "--methods", "--dry-run")
    assert unused.name in dry.stdout and "coarse-50-refined" in dry.stdout and unused.exists(), dry.stderr
    done = call(study, "prune", "--runs", "--methods")
    assert done.returncode == 0 and "freed" in done.stdout, done.stderr
    assert study.label_files() == used and not unused.exists() and not left.exists()
    assert set(study.models()) == {"n1", "b3", "coarse-50"}
    assert "Nothing to be done" in study.run(options=["--dry-run"]).output
    assert call(study, "verify").returncode == 0
