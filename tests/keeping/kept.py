"""The results of a tiny study, made by the stages' own commands, without Snakemake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fewframes.cli import app
from fewframes.doctor.settings import examine_config
from fewframes.experiments.study import Study
from fewframes.keeping.verifying import Verified, verify

REPOSITORY = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {
    "dataset": {"name": "toy", "root": "city"},
    "shards": 2,
    "propagation": {"method": "copy"},
    "refinement": {"method": "none"},
    "experiments": ["n1", "b3", "b3-filled-1", "coarse-50-refined"],
    "tables": ["table1"],
    "training": {
        "tmanet": {
            "network": {
                "backbone": "mobilenetv3_small_050",
                "output_stride": 16,
                "key_channels": 8,
                "value_channels": 8,
                "head_channels": 16,
            },
            "iterations": 1,
            "batch_size": 2,
            "crop": [32, 64],
        }
    },
    "evaluation": {"mode": "whole"},
}
RUNS = ("n1", "b3")
"""The experiments that are trained: the grid is half finished."""


@dataclass
class Kept:
    """A working folder with a dataset, a config and results; the tests are in it."""

    folder: Path

    @property
    def results(self) -> Path:
        return Path("results/toy")

    def verify(self) -> Verified:
        return verify(Path("config.yaml"), REPOSITORY, workers=1)

    def configure(self, **changes: Any) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}))

    def run(self, experiment: str) -> Path:
        return self.results / "runs/tmanet" / experiment / "draw0-seed0"

    def label_files(self, method: str = "pseudo/copy") -> list[Path]:
        return sorted((self.results / method / "labels").glob("*.h5"))

    def files(self) -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(self.results.rglob("*")) if p.is_file()}


def study_of(config: dict[str, Any]) -> Study:
    _, case = examine_config(config, REPOSITORY, 1, False)
    assert case is not None
    return case.study


def _call(*arguments: object) -> None:
    app.main([str(a) for a in arguments], standalone_mode=False)


def make(config: dict[str, Any]) -> None:
    """Do in the working directory what the rules do."""
    study = study_of(config)
    results = Path(study.folder)
    where = ("--root", study.root, "--classes", study.classes, "--results", results)
    _call("prepare", "--settings", study.prepare_settings(), "--results", results)
    _call("needs", "--settings", study.plan_settings(), "--out", results)
    stages = (("pseudo", "propagation", "propagate", "copy"), ("refined", "refinement", "refine", "none"))
    for kind, block, stage, method in stages:
        csvs = [results / kind / method / f"{shard}.csv" for shard in study.shards]
        for csv in csvs:
            settings = ("--settings", study.methods.settings(block, method), "--method", method)
            _call(stage, "--shard", results / "shards" / stage / csv.name, *settings, *where, "--out", csv)
        _call("collect", "--out", results / kind / method / "labels.csv", *csvs)
    made = {"annotated": (), "propagated": ("--pseudo", "copy"), "refined": ("--refined", "none")}
    for family, option in made.items():
        labels = [results / option[0].strip("-") / option[1] / "labels.csv"] if option else []
        settings = ("--settings", study.manifest_settings(family))
        _call("manifests", "--family", family, *settings, *where[:2], *where[4:], *option, *labels)
    for experiment in RUNS:
        out = results / "runs/tmanet" / experiment / "draw0-seed0"
        settings = ("--settings", study.trainings.settings("tmanet", f"{experiment}/draw0-seed0"))
        manifest = results / "manifests" / experiment / "draw0.csv"
        common = (*where, "--out", out, "--threads", 1, "--device", "cpu")
        _call("train", "--manifest", manifest, *settings, *common, "--checkpoints", out / "checkpoints")
        scored = ("--settings", study.evaluation_settings("tmanet"), "--model", out / "model.safetensors")
        _call("evaluate", "--manifest", results / "manifests/evaluation.csv", *scored, *common)
    filled, model = results / "filled/b3-filled-1", results / "runs/tmanet/b3/draw0-seed0/model.safetensors"
    settings = ("--settings", study.filling_settings(), "--threads", 1, "--device", "cpu")
    manifest = ("--manifest", results / "manifests/b3/draw0.csv")
    _call(
        "fill",
        "--model",
        model,
        *manifest,
        *settings,
        *where,
        "--labels",
        filled / "labels",
        "--out",
        filled / "draw0.csv",
    )
    out = ("--labels", filled / "draw0.csv", "--out", results / "manifests/b3-filled-1/draw0.csv")
    _call("filled-manifest", *manifest, *where[:2], *where[4:], *out)
    experiments = REPOSITORY / "workflow/experiments"
    for name, command in (("table1", "table"), ("claims", "claims")):
        what = ("--definition", experiments / f"{name}.yaml", "--catalogue", experiments / "catalogue.yaml")
        settings = ("--settings", study.table_settings())
        _call(command, *what, *settings, *where[2:], "--out", results / "tables" / name)
