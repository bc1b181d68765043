"""What networks learn on toy city, and what a past frame is worth to them.

TMANet with its memory of the frame before, with a memory of the frame itself (so that it sees no past), and TDNet,
each with three seeds on the same annotated frames, through the workflow. Run it as

    python benchmarks/past_frame.py FOLDER [--iterations N] [--seeds N] [--cores N]

A second call with the same folder goes on. Printed: learning curves (mIoU of the training crops), mIoU on the
validation frames, mean and standard deviation over seeds, and what a network that says one class everywhere would have.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
SIZE = {"height": 128, "width": 256}
TMANET = {
    "backbone": "mobilenetv3_small_100",
    "output_stride": 16,
    "head_channels": 128,
    "key_channels": 32,
    "value_channels": 64,
}
TRAINING = {"batch_size": 4, "crop": [128, 256], "scale": [1, 1], "photometric": False, "optimiser": "adamw"}
ARMS: dict[str, dict[str, Any]] = {
    "TMANet, the frame before": {"tmanet": {"network": TMANET | {"memory_frame": "previous"}, "lr": 0.01}},
    "TMANet, no past": {"tmanet": {"network": TMANET | {"memory_frame": "self"}, "lr": 0.01}},
    "TDNet, the frame before": {
        "tdnet": {"network": {"width": 16, "size": [128, 256]}, "lr": 0.003, "warmup": 50, "scale": [1, 2]}
    },
}


def run(name: str, training: dict[str, Any], folder: Path, options: argparse.Namespace) -> Path:
    """One arm through the workflow; the folder of its runs."""
    (network, own), *_ = training.items()
    arm = folder / name.replace(" ", "-").replace(",", "").lower()
    arm.mkdir(parents=True, exist_ok=True)
    config = {
        "dataset": {"name": "toycity", "reader": "cityscapes", "root": str(folder / "data"), "classes": "cityscapes"},
        "toycity": {"train": 24, "val": 16, "train_extra": 0, "variety": 1, "seed": 0, **SIZE},
        "results": str(arm / "results"),
        "experiments": ["n1"],
        "seeds": list(range(options.seeds)),
        "training": {network: TRAINING | {"iterations": options.iterations} | own},
        "evaluation": {"mode": "whole"},
        "tables": [],
    }
    (arm / "config.yaml").write_text(yaml.safe_dump(config))
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", arm / "config.yaml", "--quiet", "all"]
    subprocess.run([*command, "--cores", str(options.cores)], check=True, cwd=arm)
    return arm / "results" / "toycity" / "runs" / network / "n1"


def curve(log: Path) -> dict[int, float]:
    """mIoU of the crops by iteration."""
    with log.open(newline="") as file:
        return {int(row["iteration"]) + 1: float(row["miou"]) for row in csv.DictReader(file) if row["miou"]}


def scores(run_folder: Path) -> tuple[float, float]:
    """mIoU on the validation frames, and that of saying the commonest class everywhere."""
    confusion = np.load(run_folder / "confusion.npz")["confusion"].sum(0)
    with (run_folder / "metrics.csv").open(newline="") as file:
        miou = next(float(row["iou"]) for row in csv.DictReader(file) if row["class"] == "mean")
    pixels = confusion.sum(1)
    seen = np.count_nonzero(pixels)
    return miou, 100 * float(pixels.max() / pixels.sum()) / seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    for name, training in ARMS.items():
        runs = sorted(run(name, training, options.folder.resolve(), options).iterdir())
        curves = [curve(each / "log.csv") for each in runs]
        told = [f"{i}: {statistics.mean(c[i] for c in curves):.1f}" for i in curves[0] if i % 100 == 0]
        found = [scores(each) for each in runs]
        mious = [miou for miou, _ in found]
        sd = statistics.stdev(mious) if len(mious) > 1 else float("nan")
        print(f"{name}: mIoU {statistics.mean(mious):.2f} ± {sd:.2f} ({', '.join(f'{m:.2f}' for m in mious)})")
        print(f"  one class everywhere: {found[0][1]:.2f}; mIoU of the crops by iteration: {', '.join(told)}")


if __name__ == "__main__":
    main()
