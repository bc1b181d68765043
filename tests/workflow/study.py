"""A study in a folder of its own: configure it, run Snakemake on it, kill it, look at what it made."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import yaml

REPOSITORY = Path(__file__).parents[2]
EXPERIMENTS = ["n1", "b3", "coarse-50", "coarse-50-refined"]
CONFIG = {
    "dataset": {"name": "toy", "root": "city", "truth": "city-truth"},
    "toycity": {"train": 6, "val": 2, "train_extra": 1, "height": 64, "width": 128},
    "shards": 2,
    "quality": {"methods": ["flow"], "reach": 2, "signals": 2},
    "experiments": EXPERIMENTS,
    "training": {
        "tmanet": {
            "network": {
                "backbone": "mobilenetv3_small_050",
                "output_stride": 16,
                "key_channels": 8,
                "value_channels": 8,
                "head_channels": 16,
            },
            "iterations": 4,
            "batch_size": 2,
            "crop": [48, 96],
            "checkpoint_every": 2,
        }
    },
    "evaluation": {"mode": "whole"},
}


class Run:
    """What a Snakemake run did: exit code, output, and its jobs as (rule, wildcards)."""

    def __init__(self, code, output):
        self.code = code
        self.output = output
        blocks = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)*)", output, re.MULTILINE)
        facts = [dict(re.findall(r"^    (\w+): (.*)", block, re.MULTILINE)) for _, block in blocks]
        self.jobs = [(rule, said.get("wildcards", "")) for (rule, _), said in zip(blocks, facts, strict=True)]
        self._numbers = [said.get("jobid") for said in facts]

    @property
    def finished(self):
        """Its jobs that ended well."""
        jobs = dict(zip(self._numbers, self.jobs, strict=True))
        return {jobs[number] for number in re.findall(r"Finished jobid: (\d+)", self.output)}

    def of(self, rule):
        return sorted(wildcards for name, wildcards in self.jobs if name == rule)

    def experiments(self, rule):
        return {re.search(r"experiment=([^,]+)", wildcards)[1] for wildcards in self.of(rule)}


class Study:
    """A working folder with a dataset, a config and results; `jobs` has commands that its jobs start (see `warm`)."""

    def __init__(self, folder, jobs=None):
        self.folder = folder
        self.jobs = jobs
        self.results = folder / "results" / "toy"

    def configure(self, **changes):
        config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
        (self.folder / "study.yaml").write_text(yaml.safe_dump(config))

    def command(self, *targets, options=(), cores=2):
        common = ["--snakefile", REPOSITORY / "Snakefile", "--directory", self.folder, "--cores", cores]
        settings = ["--workflow-profile", REPOSITORY / "workflow/profiles/default", "--configfile", "study.yaml"]
        return [str(a) for a in [sys.executable, "-m", "snakemake", *common, *settings, *options, "--", *targets]]

    def start(self, *targets, options=()):
        return subprocess.Popen(
            self.command(*targets, options=options),
            cwd=self.folder,
            env=environment(self.jobs),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *targets, options=()):
        process = self.start(*targets, options=options)
        try:
            output, _ = process.communicate(timeout=600)
        finally:
            end(process)
        # A job that Snakemake starts on a placeholder reads the wrong file, and says nothing.
        assert "--dry-run" in options or "<TBD>" not in output, output
        return Run(process.returncode, output)

    def fewframes(self, *arguments):
        """Run a command of the package's, in the repository."""
        command = [sys.executable, "-m", "fewframes", *map(str, arguments)]
        return subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True)

    def killed(self, when, *targets, seconds=300):
        """Start, wait until `when()` is true, and kill -9 everything that runs."""
        process = self.start(*targets)
        deadline = time.monotonic() + seconds
        try:
            while not when():
                assert process.poll() is None, "it ended before it could be killed:\n" + process.stdout.read()
                assert time.monotonic() < deadline, "what was waited for never came"
                time.sleep(0.02)
        finally:
            end(process)

    def unlock(self):
        # A killed head leaves its lock; the mend is the one Snakemake names.
        subprocess.run(
            self.command(options=["--unlock"]), cwd=self.folder, env=environment(), check=True, capture_output=True
        )

    def label_files(self, stage="pseudo/flow"):
        return {p.name: p.stat().st_mtime_ns for p in (self.results / stage / "labels").glob("[!.]*.h5")}

    def models(self):
        return {p.parts[-3]: p.stat().st_mtime_ns for p in self.results.glob("runs/tmanet/*/*/model.safetensors")}

    def assert_true_inputs(self):
        """Every run was trained on its own manifest's samples and scored on the evaluation's frames."""
        frames = (self.results / "manifests/evaluation.csv").read_text().splitlines()[1:]
        for run in self.results.glob("runs/tmanet/*/*"):
            manifest = self.results / "manifests" / run.parent.name / f"{run.name.split('-')[0]}.csv"
            samples = len(manifest.read_text().splitlines()) - 1
            assert json.loads((run / "training.json").read_text())["samples"] == samples, run
            scored = np.load(run / "confusion.npz")["clips"].tolist()
            assert scored == [line.split(",")[0] for line in frames], run

    def manifest(self, experiment):
        return (self.results / "manifests" / experiment / "draw0.csv").read_text()


def rule_blocks():
    """The text of every rule by its name; of one that uses another, the other's."""
    blocks = {}
    for file in (REPOSITORY / "Snakefile", *(REPOSITORY / "rules").glob("*.smk")):
        _, *rest = re.split(r"^ *(?:rule|checkpoint) (\w+):$", file.read_text(), flags=re.M)
        blocks |= dict(zip(rest[::2], rest[1::2], strict=True))
        for rule, inherits in re.findall(r"^ *use rule (\w+) as (\w+) with:$", file.read_text(), flags=re.M):
            blocks[inherits] = blocks[rule]
    return blocks


def local_rules():
    """Those that run beside Snakemake, on a cluster too."""
    return {rule for rule, block in rule_blocks().items() if "localrule: True" in block}


def end(process):
    """Kill -9 what `Study.start` started and all that this started, where it still runs; gives back what it printed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    return output


def environment(jobs=None):
    path = os.pathsep.join(map(str, filter(None, [jobs, Path(sys.executable).parent, os.environ["PATH"]])))
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
