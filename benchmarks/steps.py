"""Training steps a second at a crop's full size, the memory they take, and which attention kernel PyTorch picks.

    python benchmarks/steps.py [--network tmanet] [--crop 769 769] [--batch 8] [--accumulate 1] [--precision bfloat16]
                               [--steps 10] [--device auto]

The batch is made up and stays where it is: data loading is in `training.py`. float32 and the precision named are
measured one after the other; the ratio is printed last. On a processor choose a small crop.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from torch.profiler import ProfilerActivity, profile

from fewframes.core.device import choose_device, device_name
from fewframes.core.labels import load_class_table
from fewframes.core.team import Team
from fewframes.learning.networks import build_network
from fewframes.learning.settings import TrainingSettings
from fewframes.learning.steps import Stepper

WARM_UP = 2


def measure(options: argparse.Namespace, precision: str, device: torch.device) -> float:
    """Steps a second, said with what they take."""
    classes = load_class_table("cityscapes")
    settings = {"batch_size": options.batch, "accumulate": options.accumulate, "crop": options.crop}
    network = {"name": options.network} | ({"size": options.crop} if options.network == "tdnet" else {})
    plan = TrainingSettings.parse({"network": network, "precision": precision, **settings})
    torch.manual_seed(0)
    stepper = Stepper(build_network(network, len(classes.names)), plan, Team(), device, classes, 2, seed=0)
    frames = torch.randn(options.batch, 2, *options.crop, 3, device=device)
    labels = torch.randint(0, len(classes.names), (options.batch, *options.crop), device=device).to(torch.uint8)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for step in range(WARM_UP):
            stepper.step(frames, labels, step)
    kernels = sorted({e.key for e in seen.key_averages() if e.key.startswith("aten::_scaled_dot_product")})
    began = time.perf_counter()
    for step in range(options.steps):  # each waits for its loss, so for the GPU
        stepper.step(frames, labels, WARM_UP + step)
    pace = options.steps / (time.perf_counter() - began)
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device) / 2**30
        torch.cuda.reset_peak_memory_stats(device)
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{precision}: {pace:.3f} steps a second, {memory:.1f} GiB at the most, attention by {', '.join(kernels)}")
    return pace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=["tmanet", "tdnet"], default="tmanet")
    parser.add_argument("--crop", nargs=2, type=int, default=[769, 769])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device, "this benchmark")
    print(
        f"{options.network}, {options.batch} samples of {options.crop[0]}x{options.crop[1]}, on {device_name(device)}"
    )
    full = measure(options, "float32", device)
    other = measure(options, options.precision, device)
    print(f"{options.precision} over float32: {other / full:.2f}")


if __name__ == "__main__":
    main()
