"""Training a network on a manifest's samples, so that it can be killed anywhere and taken up exactly.

Every batch is made from (seed, iteration), the state of torch's generator is set from them before each step,
and a checkpoint holds weights and optimiser: a resumed training ends in the same weights as an
uninterrupted one, bit for bit on a CPU with equal thread counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from fewframes.core.clips import Folder
from fewframes.core.errors import UserError
from fewframes.core.files import (
    ContentHashes,
    canonical_json,
    content_hash,
    digest,
    write_csv,
    write_text,
    written_whole,
)
from fewframes.core.labels import ClassTable
from fewframes.core.progress import say
from fewframes.core.stages import VERSIONS
from fewframes.core.weights import check_weights
from fewframes.learning.augmentation import Augmentation
from fewframes.learning.checkpoints import CheckpointFile
from fewframes.learning.feeding import feed
from fewframes.learning.lease import lease
from fewframes.learning.losses import total_loss
from fewframes.learning.networks import AUXILIARY, build_network, parameter_count
from fewframes.learning.samples import Batches, Sample, SampleReader, read_manifest
from fewframes.learning.settings import TrainingSettings

_SECONDS_BETWEEN_LINES = 10.0
_STEP = 2
"""First key of the generators of torch's seeds; `samples` has 0 and 1."""


def train(
    manifest: str | Path,
    dataset_root: Folder,
    labels_root: str | Path,
    classes: ClassTable,
    settings: Mapping[str, Any],
    seed: int,
    out: str | Path,
    checkpoints: str | Path,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Train on the samples of `manifest` and write `log.csv`, `training.json` and `model.safetensors` to `out`.

    `labels_root` is where label files lie, `checkpoints` a folder for this training alone, gone again at the
    end; of `threads` see `use_threads`. The model carries network settings and class names. On SIGTERM or
    SIGUSR1 the training saves a checkpoint and leaves with exit code 128 + the signal's number. Raises
    `UserError` for settings, samples or files that do not serve, where another process trains into
    `checkpoints`, and where the loss is no longer a number.
    """
    plan = TrainingSettings.parse(settings)
    where = choose_device(device)
    use_threads(threads)
    if plan.pretrained_sha256:
        check_weights(plan.network["pretrained"], plan.pretrained_sha256)
    _seed_torch(seed, 0)
    network = build_network(plan.network, len(classes.names))
    listed = read_manifest(manifest)
    reader = SampleReader(dataset_root, labels_root, classes)
    reader.check_files(listed, ContentHashes(Path(labels_root) / "hashes", "train"))
    samples = seen_by(network, listed, manifest)
    network = network.to(where, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = _optimiser(network, plan)
    fingerprint = training_fingerprint(manifest, classes, plan, seed)
    checkpoint = CheckpointFile(checkpoints, fingerprint)
    losses: list[float] = []
    with lease(checkpoints) as held, _stop_signals() as stopped:
        state = checkpoint.load()
        if state is not None:
            network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            losses = state["losses"].tolist()
            say(f"resuming at iteration {len(losses)}")
        elif plan.network.get("pretrained") is None:
            say("The backbone starts from random weights: name a file in network.pretrained to start from better ones.")

        def save() -> None:
            held.check()
            checkpoint.save(
                {
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "losses": torch.tensor(losses, dtype=torch.float64),
                }
            )

        workers = 0 if reader.keep(samples, plan.cache_mb) else plan.workers
        augmentation = Augmentation(plan.crop, plan.scale, plan.flip, plan.photometric)
        batches = Batches(samples, reader, augmentation, plan.batch_size, seed)
        loaded = feed(batches, range(len(losses), plan.iterations), workers, where)
        for frames, labels in _reported(loaded, losses, plan.iterations, run_name(out)):
            iteration = len(losses)
            _seed_torch(seed, iteration)
            for group in optimiser.param_groups:
                group["lr"] = plan.rate_at(iteration)
            logits = network(frames.permute(0, 1, 4, 2, 3), iteration % network.paths)
            loss = total_loss(logits, labels, plan)
            optimiser.zero_grad(set_to_none=not plan.step_unused)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise UserError(
                    f"The loss is {losses[-1]} at iteration {iteration}: lower training.lr, or look at the labels "
                    f"of that batch ({', '.join(batches.names(iteration))})."
                )
            finished = len(losses) == plan.iterations
            if not finished and (stopped or len(losses) % plan.checkpoint_every == 0):
                save()
            if stopped and not finished:
                say(f"stopped by {stopped[0].name} after iteration {len(losses)}: run again to go on from there.")
                raise SystemExit(128 + stopped[0])

        held.check()
        facts = {
            "fingerprint": fingerprint,
            "classes": list(classes.names),
            "iterations": plan.iterations,
            "samples": len(samples),
            "seed": seed,
            "parameters": parameter_count(network),
            "settings": dataclasses.asdict(plan),
        }
        folder = Path(out)
        rows = [(i, f"{loss:.6f}", f"{plan.rate_at(i):.8f}") for i, loss in enumerate(losses)]
        write_csv(folder / "log.csv", ("iteration", "loss", "lr"), rows)
        write_text(folder / "training.json", json.dumps(facts, indent=2) + "\n")
        save_model(folder / "model.safetensors", network, plan.network, classes)
        checkpoint.remove()


def training_fingerprint(manifest: str | Path, classes: ClassTable, plan: TrainingSettings, seed: int) -> str:
    """A digest of all that the trained weights depend on."""
    pretrained = plan.network.get("pretrained")
    weights = content_hash(pretrained) if pretrained is not None else ""
    return digest(VERSIONS["train"], content_hash(manifest), classes.label_digest, plan.decisive, weights, seed)


def save_model(path: str | Path, network: nn.Module, settings: Mapping[str, Any], classes: ClassTable) -> None:
    """Write the network without its auxiliary parts, with its settings and class names, as safetensors."""
    weights = {k: v.cpu().contiguous() for k, v in network.state_dict().items() if not k.startswith(f"{AUXILIARY}.")}
    # One entry: safetensors writes several in random order, and equal models shall be equal bytes.
    facts = canonical_json({"network": {**settings, "pretrained": None}, "classes": classes.names})
    with written_whole(path) as aside:
        aside.write_bytes(safetensors.torch.save(weights, {"fewframes": facts}))


def choose_device(name: str) -> torch.device:
    """The device by name; `auto` is a CUDA GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"The device is set to '{name}' and there is no CUDA GPU here: set it to auto or cpu.")
    return torch.device(name)


def run_name(out: str | Path) -> str:
    """What a run is called in a log: the end of its folder, network, experiment, draw and seed."""
    return "/".join(Path(out).parts[-3:])


def use_threads(threads: int | None) -> None:
    """Keep torch to a number of threads (`None` or 0 leaves the choice to it), and OpenCV to one."""
    if threads:
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)


def seen_by(network: nn.Module, samples: Sequence[Sample], manifest: str | Path) -> list[Sample]:
    """The samples with as many past frames as the network takes, the latest; other networks may take more.

    A network whose `memory_frame` is `self` has the image itself in their place. Raises `UserError` where they have
    fewer.
    """
    wanted: int = network.past_frames  # type: ignore[assignment]
    if network.memory_frame == "self":
        return [dataclasses.replace(s, memory=(s.image,) * wanted) for s in samples]
    for sample in samples:
        if len(sample.memory) < wanted:
            raise UserError(
                f"{manifest} has {len(sample.memory)} past frames a sample and the network takes {wanted}: make the "
                "manifests again by `snakemake`."
            )
    return [dataclasses.replace(s, memory=s.memory[len(s.memory) - wanted :]) for s in samples]


def _optimiser(network: nn.Module, plan: TrainingSettings) -> torch.optim.Optimizer:
    parameters = list(network.parameters())
    if plan.step_unused:
        for parameter in parameters:  # from the first step on, and likewise after a resumption
            parameter.grad = torch.zeros_like(parameter)
    # Convolutions' weights have four dimensions; biases and norms fewer, TDNet's norm over positions two.
    spared = [] if plan.decay_all else [p for p in parameters if p.ndim < 4]
    decayed = [p for p in parameters if plan.decay_all or p.ndim >= 4]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}]
    if spared:
        groups.append({"params": spared, "weight_decay": 0.0})
    if plan.optimiser == "adamw":
        return torch.optim.AdamW(groups, plan.lr, fused=True)
    # Fused SGD fails where a weight is first used in a later step, as those of a further path are.
    return torch.optim.SGD(groups, plan.lr, momentum=plan.momentum, fused=bool(network.paths == 1))


def _seed_torch(seed: int, iteration: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence((seed, _STEP, iteration)).generate_state(1)[0]))


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[signal.Signals]]:
    """Collect SIGTERM and SIGUSR1 in a list, instead of dying of them, until left."""
    received: list[signal.Signals] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number))

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reported(
    batches: Iterator[tuple[Tensor, Tensor]], losses: list[float], iterations: int, name: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches, and every ten seconds say how far the training is."""
    started = spoken = time.monotonic()
    first = len(losses)
    for batch in batches:
        yield batch
        now = time.monotonic()
        if now - spoken > _SECONDS_BETWEEN_LINES or len(losses) == iterations:
            spoken = now
            speed = (len(losses) - first) / (now - started)
            say(f"train {name}: iteration {len(losses)}/{iterations}, loss {losses[-1]:.4f}, {speed:.1f} it/s")
