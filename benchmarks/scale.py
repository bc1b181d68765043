"""The full paper at Cityscapes' and IDD's true sizes: scan, dry run, jobs and submissions, tables and figures.

The data are generated: hard links to a few pictures, labels and scores made up. IDD's stand in Cityscapes' layout, as
many clips as the paper's subset of 1920x1080 has, since only their number matters here. Experiments that choose clips
by what is measured in frames are left out: these frames are all alike.

Judged is processor time (user and system, of all processes), which other work on the machine stretches less than the
clock: a loop of fixed work is timed beside it, so that machines can be compared. The limits are the project's: the scan
5 s, a dry run after planning 10 s and 250 MB, tables and figures 30 s, and fewer than 600 submissions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from index import TRAIN, VAL, write_tree

from fewframes.core.clips import LABEL_COLUMNS, asks_for, read_shard, scan
from fewframes.core.files import write_csv
from fewframes.core.labels import load_class_table
from fewframes.doctor.settings import examine_config
from fewframes.experiments.study import Study
from fewframes.learning.counted import Counted, write_counted

REPOSITORY = Path(__file__).parents[1]
sys.path.append(str(REPOSITORY / "tests/workflow"))

from study import Run, local_rules  # noqa: E402

EXPERIMENTS = REPOSITORY / "workflow" / "experiments"
PICTURED = ("-flow", "-diversity")
SIZES: dict[str, tuple[dict[str, int], dict[str, int], int]] = {
    "cityscapes": (TRAIN, VAL, 19_998),
    # The paper's subset of 1920x1080: 4,032 and 441 clips.
    "idd": ({f"drive-{n}": 96 for n in range(42)}, {f"drive-{n}": 21 for n in range(42, 63)}, 0),
}


@dataclass(frozen=True)
class Cost:
    """What some work took: seconds by the clock and of processors, and the most memory of a process, in MB."""

    wall: float
    cpu: float
    memory: float = 0.0

    def __str__(self) -> str:
        memory = f", {self.memory:.0f} MB" if self.memory else ""
        return f"{self.cpu:.1f} s of a processor{memory} ({self.wall:.1f} s by the clock)"


def of_call(work: Callable[[], object]) -> Cost:
    start, before = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - start, time.process_time() - before)


def of_command(command: Sequence[object], folder: Path, log: Path) -> Cost:
    """Run a command; it and what it starts count, and what they said is in `log`."""
    words = [str(word) for word in command]
    start = time.perf_counter()
    with log.open("wb") as out:
        measured = subprocess.run(
            [sys.executable, "-c", _MEASURE, *words], cwd=folder, stdout=subprocess.PIPE, stderr=out, text=True
        ).stdout.split()
    if measured[0] != "0":
        sys.exit(f"{' '.join(words)} failed:\n{log.read_text(errors='replace')[-3000:]}")
    return Cost(time.perf_counter() - start, float(measured[1]), float(measured[2]) / 1024)


_MEASURE = """
import os, sys
out = [(os.POSIX_SPAWN_DUP2, 2, 1)]
path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], {**os.environ, "PATH": path}, file_actions=out)
_, status, used = os.wait4(pid, 0)
print(status, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""Runs a command from a small process: the kernel counts the memory of who starts one as its own."""


def calibration() -> float:
    """Seconds of a processor for fixed work of the kind that Snakemake does: dictionaries, strings, calls."""

    def work() -> None:
        names = {f"results/{i}/{i % 7}.csv": i for i in range(300_000)}
        for _ in range(5):
            sorted(names, key=lambda name: (names[name] % 13, name))

    return of_call(work).cpu


class Bench:
    """A dataset, a config and a folder to run in."""

    def __init__(self, name: str, work: Path, share: float) -> None:
        self.folder, self.root = work / name, work / f"data-{name}"
        self.folder.mkdir()
        self.root.mkdir()
        train, val, extra = SIZES[name]
        self.made = of_call(lambda: write_tree(self.root, share, train, val, extra)).wall
        config = yaml.safe_load((REPOSITORY / "workflow/configs" / f"paper-{name}.yaml").read_text())
        config["dataset"] |= {"reader": "cityscapes", "root": str(self.root), "options": {}}
        config["experiments"] = [e for e in config["experiments"] if not e.endswith(PICTURED)]
        (self.folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        self.config: dict[str, Any] = config
        os.chdir(self.folder)
        _, case = examine_config(config, REPOSITORY, 1, False)
        assert case is not None
        self.study: Study = case.study
        self.results = self.folder / self.study.folder

    def snakemake(self, *options: str) -> Cost:
        profile = REPOSITORY / "workflow/profiles/default"
        command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", 1]
        command += ["--workflow-profile", profile, "--configfile", "study.yaml", *options]
        return of_command(command, self.folder, self.folder / "snakemake.log")

    def jobs(self) -> tuple[Counter[str], Counter[str]]:
        """Jobs of the last dry run by rule: those that are submitted, and those beside Snakemake."""
        found = Counter(rule for rule, _ in Run(0, (self.folder / "snakemake.log").read_text()).jobs)
        beside = Counter({rule: n for rule, n in found.items() if rule in local_rules()})
        return found - beside, beside

    def label(self) -> None:
        """Make labels up: their lists, as the shards ask for them."""
        for kind, stage in (("pseudo", "propagate"), ("refined", "refine")):
            for method in self.study.labelled[kind]:
                rows = []
                for shard in self.study.shards:
                    for clip, more in read_shard(self.results / "shards" / stage / f"{shard}.csv"):
                        if not asks_for(more, method):
                            continue
                        file = f"{kind}/{method}/labels/{clip.id}.h5"
                        rows += [
                            (clip.id, offset, file, f"{clip.id}{offset}", "") for offset in more["offsets"].split()
                        ]
                write_csv(self.results / kind / method / "labels.csv", LABEL_COLUMNS, rows)

    def manifests(self) -> Cost:
        """Write all manifests, as the rules do."""
        total = Cost(0, 0)
        for family in ("annotated", "propagated", "refined"):
            if family != "annotated" and not self.study.families[family]:
                continue
            kinds = {"propagated": [("pseudo", self.study.propagation)]}
            kinds["refined"] = [("refined", method) for method in self.study.refined_by]
            made = [
                word
                for kind, method in kinds.get(family, [])
                for word in (f"--{kind}", method, self.results / kind / method / "labels.csv")
            ]
            settings = self.study.manifest_settings(family)
            cost = self.fewframes("manifests", "--family", family, "--settings", settings, "--root", self.root, *made)
            total = Cost(total.wall + cost.wall, total.cpu + cost.cpu, max(total.memory, cost.memory))
        for name in self.study.manifests("filled"):  # as many rows, from other labels
            path = self.results / "manifests" / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            experiment, draw = name.split("/")
            shutil.copy(self.results / "manifests" / self.study.rounds.unfilled(experiment) / f"{draw}.csv", path)
        return total

    def fewframes(self, *words: object) -> Cost:
        command = [sys.executable, "-m", "fewframes", *words, "--results", self.results]
        return of_command(command, self.folder, self.folder / "fewframes.log")

    def finish(self) -> None:
        """Make the runs' scores up: a confusion matrix an image, and what follows from them."""
        from fewframes.learning.evaluation import write_scores

        rng = np.random.default_rng(0)
        classes = load_class_table(self.study.classes)
        count = len(classes.names)
        scored = [c for c, _ in read_shard(self.results / "index.csv") if c.split == "val" and c.fine]
        names = [clip.id for clip in scored]
        usual = rng.poisson(40, (len(scored), count, count)) + np.eye(count, dtype=np.int64) * 4000
        for run in self.study.runs:
            out = self.results / "runs" / run
            out.mkdir(parents=True)
            confusion = (usual + rng.integers(0, 400) * np.eye(count, dtype=np.int64)).astype(np.int64)
            totals = confusion.sum(axis=0)[None]
            write_counted(out / "confusion.npz", Counted(names, confusion, totals, "", "", ""))
            write_scores(out, totals, classes)
            network = self.config["training"][run.split("/")[0]]
            facts = {"settings": {**network, "network": network["network"]}, "samples": 2975, "iterations": 40000}
            (out / "training.json").write_text(json.dumps(facts))

    def shown(self) -> dict[str, Cost]:
        """Tables and figures, each by its command."""
        settings = ("--settings", self.study.table_settings(), "--catalogue", EXPERIMENTS / "catalogue.yaml")
        classes = ("--classes", self.study.classes)
        costs = {}
        for table in self.study.tables:
            out = ("--definition", EXPERIMENTS / f"{table}.yaml", "--out", self.results / "tables" / table)
            costs[table] = self.fewframes("table", *settings, *classes, *out)
        out = ("--definition", EXPERIMENTS / "claims.yaml", "--out", self.results / "tables" / "claims")
        costs["claims"] = self.fewframes("claims", *settings, *classes, *out)
        for figure, table in (("figure4", "table3"), ("figure5", "table4")):
            if table in self.study.tables:
                out = ("--definition", EXPERIMENTS / f"{table}.yaml", "--out", self.results / "figures" / figure)
                costs[figure] = self.fewframes("figure", figure, *settings, *out)
        out = ("--out", self.results / "figures" / "cost")
        costs["cost"] = self.fewframes("figure", "cost", *settings, *classes, *out)
        costs["clips"] = self.fewframes("figure", "clips", *settings, "--out", self.results / "figures" / "clips")
        return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the true sizes")
    parser.add_argument("--keep", type=Path, help="a new folder to work in, which stays")
    options = parser.parse_args()
    work = options.keep or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    limits: list[tuple[str, float, float, str]] = []
    print(f"calibration: {calibration():.2f} s of a processor", flush=True)
    submitted: Counter[str] = Counter()
    try:
        for name in SIZES:
            bench = Bench(name, work, options.share)
            manifests = sum(len(bench.study.manifests(family)) for family in bench.study.families)
            print(
                f"\n{name}: a tree written in {bench.made:.0f} s; {manifests} manifests, {len(bench.study.runs)} runs"
            )
            looked = min((of_call(lambda root=bench.root: scan(root)) for _ in range(3)), key=lambda cost: cost.cpu)
            print(f"scan, the best of three: {looked}", flush=True)
            print(f"preparing and planning: {bench.snakemake('--until', 'plan')}", flush=True)
            dry = min((bench.snakemake("--dry-run") for _ in range(2)), key=lambda cost: cost.cpu)
            remote, local = bench.jobs()
            submitted += remote
            print(f"dry run after planning, the better of two: {dry}")
            print(
                f"jobs: {remote.total()} submitted ({told(remote)}), {local.total()} beside Snakemake ({told(local)})"
            )
            bench.label()
            print(f"manifests: {bench.manifests()}", flush=True)
            print(f"scores made up in {of_call(bench.finish).wall:.0f} s", flush=True)
            costs = bench.shown()
            print("tables and figures: " + ", ".join(f"{name} {cost.cpu:.1f} s" for name, cost in costs.items()))
            shown = Cost(sum(c.wall for c in costs.values()), sum(c.cpu for c in costs.values()))
            print(f"in all {shown}, at most {max(c.memory for c in costs.values()):.0f} MB", flush=True)
            limits += [(f"{name}: scan", looked.cpu, 5, "s"), (f"{name}: dry run", dry.cpu, 10, "s")]
            limits += [(f"{name}: dry run, memory", dry.memory, 250, "MB")]
            limits += [(f"{name}: tables and figures", shown.cpu, 30, "s")]
    finally:
        if not options.keep:
            shutil.rmtree(work)
    limits.append(("both: submissions", submitted.total(), 600, ""))
    print()
    for what, value, limit, unit in limits:
        print(
            f"{what}: {value:.1f} of {limit} {unit}, ratio {limit / value:.2f}{'' if value <= limit else ' TOO MUCH'}"
        )
    if any(value > limit for _, value, limit, _ in limits):
        sys.exit(1)


def told(jobs: Counter[str]) -> str:
    return ", ".join(f"{rule} {n}" for rule, n in jobs.most_common())


if __name__ == "__main__":
    main()
