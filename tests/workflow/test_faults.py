"""Faults of disks, clocks and network file systems under a whole run: nothing is lost, and the next run goes on."""

import os
import random
import shutil
import sys
import time

import pytest
from disks import SmallDisk
from kills import contents
from study import Study, environment

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh_study(finished_study, warm, tmp_path):
    """The dataset of the tiny study, times and all, with nothing made of it."""
    study = Study(tmp_path / "study", warm)
    study.folder.mkdir()
    for name in ("city", "city-truth"):
        shutil.copytree(finished_study.folder / name, study.folder / name, copy_function=shutil.copy2)
    study.configure()
    return study


def test_a_disk_that_fills_up_loses_nothing(fresh_study, finished_study, tmp_path):
    disk = SmallDisk(tmp_path / "disk")
    try:
        (fresh_study.folder / "results").symlink_to(disk.folder)
        made = {}
        for room in (100_000, 1_000_000):  # not enough for the labels; for the models
            disk.fill(room)
            run = fresh_study.run(options=["--keep-going"])
            assert run.code and "cannot be written (No space left on device): free space" in run.output
            assert "Traceback" not in run.output
            disk.make_room()
            after = fresh_study.label_files()
            assert made.items() <= after.items()
            made = after
        assert made
        run = fresh_study.run()
        assert run.code == 0, run.output
        assert made.items() <= fresh_study.label_files().items()
        assert contents(fresh_study) == contents(finished_study)
        assert not list(disk.folder.rglob(".*"))
    finally:
        disk.close()


def test_times_of_clocks_that_differ_make_nothing_anew(study):
    """A dataset of yesterday and of tomorrow, and results of the last day, in any order.

    What steps declare is never of tomorrow: its times are the file server's, and Snakemake refuses others by itself.
    """
    labels, models, rng = study.label_files(), study.models(), random.Random(0)
    made = contents(study)
    for top, latest in (("city", 86400), ("city-truth", 86400), ("results", 0)):
        for path in sorted((study.folder / top).rglob("*.*")):
            if path.is_file() and path.suffix != ".h5" and path.name not in ("toycity.json", "model.safetensors"):
                when = time.time() + rng.uniform(-86400, latest)
                os.utime(path, (when, when))
    for _ in range(2):
        run = study.run()
        assert run.code == 0, run.output
        assert not run.of("toycity") and not run.of("train")
        assert (study.label_files(), study.models()) == (labels, models)
    assert contents(study) == made


HIDES = """#!/bin/bash
{python} -m fewframes "$@" || exit
while [ $# -gt 1 ]; do
    if [ "$1" = --out ] && [ "${{2##*/}}" = labels.csv ]; then
        mv "$2" "$2.late"
        (sleep 1; mv "$2.late" "$2") >/dev/null 2>&1 &
    fi
    shift
done
"""


def test_outputs_that_show_late_are_waited_for(fresh_study, finished_study, monkeypatch):
    """As on a network file system: a list of labels is there a second after the step that makes it has ended."""
    programs = fresh_study.folder / "bin"
    programs.mkdir()
    (programs / "fewframes").write_text(HIDES.format(python=sys.executable))
    (programs / "fewframes").chmod(0o755)
    usual = environment()
    ours = {**usual, "PATH": f"{programs}{os.pathsep}{usual['PATH']}"}
    monkeypatch.setattr("study.environment", lambda _: ours)
    run = fresh_study.run("labels")
    assert run.code == 0, run.output
    wanted = {
        name: known
        for name, known in contents(finished_study).items()
        if name.endswith("/labels.csv") or "/labels/" in name
    }
    assert wanted.items() <= contents(fresh_study).items()
