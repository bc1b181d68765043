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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fewframes.core.clips import Folder
from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json, content_hash, digest, write_csv, write_text, written_whole
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.progress import say
from fewframes.core.stages import VERSIONS
from fewframes.core.weights import check_weights
from fewframes.learning.augmentation import Augmentation
from fewframes.learning.checkpoints import CheckpointFile
from fewframes.learning.lease import lease
from fewframes.learning.networks import AUXILIARY, build_network, parameter_count
from fewframes.learning.samples import Batches, Sample, SampleReader, read_manifest

_SECONDS_BETWEEN_LINES = 10.0
_STEP = 2
"""First key of the generators of torch's seeds; `samples` has 0 and 1."""
_HOUSEKEEPING = ("checkpoint_every", "workers", "cache_mb", "pretrained_sha256")
"""Settings that change how a training runs, never what comes out."""


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; the defaults are TMANet's published ones for Cityscapes, with the paper's 40,000 iterations.

    `network` is what `build_network` takes. `crop` is height and width in pixels, `scale` the range of the
    random factor on the image's size, `momentum` SGD's. The learning rate falls from `lr` to `min_lr` with
    the power `power` of the share left. `ignore_in_loss_mean`: false divides the summed loss by all pixels (as
    TMANet does), true by the labelled ones. Samples that fit into `cache_mb` MiB are held decoded; where
    they do not, `workers` processes make the batches (0: this one does). `pretrained_sha256` is what the file
    `network["pretrained"]` must be; empty takes any.
    """

    network: Mapping[str, Any]
    iterations: int = 40_000
    batch_size: int = 8
    crop: tuple[int, int] = (769, 769)
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    photometric: bool = True
    optimiser: str = "sgd"
    lr: float = 0.01
    min_lr: float = 1e-4
    power: float = 0.9
    momentum: float = 0.9
    weight_decay: float = 5e-4
    aux_weight: float = 0.4
    ignore_in_loss_mean: bool = False
    checkpoint_every: int = 500
    workers: int = 2
    cache_mb: float = 512
    pretrained_sha256: str | None = None

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> TrainingSettings:
        """From plain (JSON) settings; raises `UserError` that names a missing, unknown or impossible one."""
        unknown = sorted(settings.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f"training.{unknown[0]} is no setting of a training: remove it or mend its spelling.")
        if "network" not in settings:
            raise UserError("training.network is missing: name the network to train.")
        pairs = {key: tuple(settings[key]) for key in ("crop", "scale") if key in settings}
        parsed = cls(**{**settings, **pairs})
        for key in ("iterations", "batch_size", "checkpoint_every"):
            if getattr(parsed, key) < 1:
                raise UserError(f"training.{key} is {getattr(parsed, key)}: it must be at least 1.")
        if len(parsed.crop) != 2 or min(parsed.crop) < 1:
            raise UserError(f"training.crop is {list(parsed.crop)}: give height and width in pixels.")
        if len(parsed.scale) != 2 or not 0 < parsed.scale[0] <= parsed.scale[1]:
            raise UserError(f"training.scale is {list(parsed.scale)}: give the smallest and the largest factor.")
        if parsed.pretrained_sha256 and not parsed.network.get("pretrained"):
            raise UserError("training.pretrained_sha256 is given without network.pretrained: name the file it is of.")
        if parsed.optimiser not in ("sgd", "adamw"):
            raise UserError(f"training.optimiser is '{parsed.optimiser}': choose sgd or adamw.")
        return parsed


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
    samples = read_manifest(manifest)
    reader = SampleReader(dataset_root, labels_root, classes)
    reader.check_files(samples)
    if plan.pretrained_sha256:
        check_weights(plan.network["pretrained"], plan.pretrained_sha256)
    _seed_torch(seed, 0)
    network = build_network(plan.network, len(classes.names))
    check_past_frames(network, samples, manifest)
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
        loaded = _loaded(batches, range(len(losses), plan.iterations), workers, where)
        for frames, labels in _reported(loaded, losses, plan.iterations, run_name(out)):
            iteration = len(losses)
            _seed_torch(seed, iteration)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(plan, iteration)
            logits = network(frames.to(where, non_blocking=True).permute(0, 1, 4, 2, 3))
            loss = total_loss(logits, labels.to(where, non_blocking=True), plan)
            optimiser.zero_grad()
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
        rows = [(i, f"{loss:.6f}", f"{learning_rate(plan, i):.8f}") for i, loss in enumerate(losses)]
        write_csv(folder / "log.csv", ("iteration", "loss", "lr"), rows)
        write_text(folder / "training.json", json.dumps(facts, indent=2) + "\n")
        save_model(folder / "model.safetensors", network, plan.network, classes)
        checkpoint.remove()


def training_fingerprint(manifest: str | Path, classes: ClassTable, plan: TrainingSettings, seed: int) -> str:
    """A digest of all that the trained weights depend on."""
    settings = {k: v for k, v in dataclasses.asdict(plan).items() if k not in _HOUSEKEEPING}
    pretrained = plan.network.get("pretrained")
    weights = content_hash(pretrained) if pretrained is not None else ""
    return digest(VERSIONS["train"], content_hash(manifest), classes.label_digest, settings, weights, seed)


def learning_rate(plan: TrainingSettings, iteration: int) -> float:
    """The polynomial schedule, by iteration from 0."""
    return (plan.lr - plan.min_lr) * (1 - iteration / plan.iterations) ** plan.power + plan.min_lr


def total_loss(logits: tuple[Tensor, ...], labels: Tensor, plan: TrainingSettings) -> Tensor:
    """Cross-entropy of the main logits plus, by `aux_weight`, of the auxiliary ones.

    `logits` are `[B, C, H, W]` each, `labels` is `uint8 [B, H, W]`. A batch of ignore alone costs nothing.
    """
    targets = labels.flatten().long()
    divisor = (targets != IGNORE).sum().clamp(min=1) if plan.ignore_in_loss_mean else targets.numel()
    total = torch.zeros((), device=labels.device)
    for position, each in enumerate(logits):
        # Pixels as rows: in the networks' channels-last layout a mere view, and twice as fast on a CPU.
        rows = each.permute(0, 2, 3, 1).flatten(0, 2)
        summed = F.cross_entropy(rows, targets, ignore_index=IGNORE, reduction="sum")
        total = total + summed / divisor * (plan.aux_weight if position else 1.0)
    return total


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


def check_past_frames(network: nn.Module, samples: Sequence[Sample], manifest: str | Path) -> None:
    """Raise `UserError` where the samples have another number of past frames than the network takes."""
    for sample in samples:
        if len(sample.memory) != network.past_frames:
            raise UserError(
                f"{manifest} has {len(sample.memory)} past frames a sample and the network takes "
                f"{network.past_frames}: set network.past_frames and make the manifests again."
            )


def _optimiser(network: nn.Module, plan: TrainingSettings) -> torch.optim.Optimizer:
    parameters = network.parameters()
    if plan.optimiser == "adamw":
        return torch.optim.AdamW(parameters, plan.lr, weight_decay=plan.weight_decay, fused=True)
    return torch.optim.SGD(parameters, plan.lr, momentum=plan.momentum, weight_decay=plan.weight_decay, fused=True)


def _seed_torch(seed: int, iteration: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence((seed, _STEP, iteration)).generate_state(1)[0]))


def _loaded(batches: Batches, iterations: range, workers: int, where: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    loader: DataLoader[Any] = DataLoader(
        batches,  # type: ignore[arg-type]
        batch_size=None,  # an item is a batch already
        sampler=iterations,
        num_workers=workers,
        worker_init_fn=_start_worker,
        pin_memory=where.type == "cuda",
    )
    yield from loader


def _start_worker(_: int) -> None:
    # A scheduler signals every process of the job: the trainer needs its workers until it has saved.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)


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
