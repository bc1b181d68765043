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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn

from fewframes.core.clips import Folder
from fewframes.core.device import choose_device, device_name, short_of_memory
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, content_hash, digest, write_text
from fewframes.core.labels import ClassTable
from fewframes.core.progress import say
from fewframes.core.stages import VERSIONS
from fewframes.core.team import Team, gathered
from fewframes.learning.augmentation import recipe
from fewframes.learning.checkpoints import BAD_BATCH, CheckpointFile, save_state
from fewframes.learning.feeding import feed
from fewframes.learning.journal import Journal
from fewframes.learning.lease import lease
from fewframes.learning.modelfile import save_model
from fewframes.learning.networks import build_network, parameter_count
from fewframes.learning.samples import Batches, Sample, SampleReader, read_manifest
from fewframes.learning.settings import TrainingSettings
from fewframes.learning.steps import Stepper, seed_torch
from fewframes.learning.stopping import stopping


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
    end; of `threads` see `use_threads`. The model carries network settings and class names; `out/tensorboard` has the
    curves. On SIGTERM or SIGUSR1, and shortly before its job's time is up (see `stopping`), the training saves a
    checkpoint and leaves with exit code 128 + the signal's number, or 75. Raises `UserError` for settings, samples or
    files that do not serve, where another process trains into `checkpoints`, where memory runs out, and where the loss
    is no longer a number: then the batch is kept in `checkpoints`.
    """
    plan = TrainingSettings.parse(settings)
    if plan.teacher and not Path(plan.teacher).is_file():
        raise UserError(f"{plan.teacher} does not exist: correct training.teacher, or train it first.")
    where = choose_device(device, "training")
    if where.type == "cuda" and plan.processes > torch.cuda.device_count():
        raise UserError(
            f"training.processes is {plan.processes} and there are {torch.cuda.device_count()} GPUs here: lower it."
        )
    own_threads = max(1, threads // plan.processes) if threads else None
    job = _Job(
        Path(manifest),
        dataset_root,
        Path(labels_root),
        classes,
        plan,
        seed,
        Path(out),
        Path(checkpoints),
        where,
        own_threads,
    )
    with gathered(plan.processes, "nccl" if where.type == "cuda" else "gloo", _train, job) as team:
        _train(team, job)


@dataclass(frozen=True)
class _Job:
    """What `train` was asked for, as all processes of a team get it."""

    manifest: Path
    dataset_root: Folder
    labels_root: Path
    classes: ClassTable
    plan: TrainingSettings
    seed: int
    out: Path
    checkpoints: Path
    device: torch.device
    threads: int | None


def _train(team: Team, job: _Job) -> None:
    """One process's part of a training; the first writes and is told to stop."""
    plan = job.plan
    where = torch.device("cuda", team.rank) if team.size > 1 and job.device.type == "cuda" else job.device
    use_threads(job.threads)
    if where.type == "cuda":
        torch.cuda.set_device(where)  # for the threads of the data loader too
    seed_torch(job.seed, 0)
    pretrained = str(plan.weights.path) if plan.weights else None
    network = build_network({**plan.network, "pretrained": pretrained}, len(job.classes.names))
    listed = read_manifest(job.manifest)
    reader = SampleReader(job.dataset_root, job.labels_root, job.classes)
    if team.first:
        reader.check_files(listed, ContentHashes(job.labels_root / "hashes", "train"))
    samples = seen_by(network, listed, job.manifest)
    workers = 0 if reader.keep(samples, plan.cache_mb) else plan.workers
    augment = recipe(plan.augmentation, plan.crop, plan.scale, plan.flip, plan.photometric)
    batches = Batches(samples, reader, augment, plan.batch_size, job.seed, team.rank, team.size)
    fingerprint = training_fingerprint(job.manifest, job.classes, plan, job.seed)
    checkpoint = CheckpointFile(job.checkpoints, fingerprint)
    journal = Journal(plan, job.classes, run_name(job.out))
    with contextlib.ExitStack() as entered:
        entered.enter_context(
            short_of_memory(
                f"The memory of {where} does not suffice for training: raise training.accumulate, lower training.crop "
                "or training.batch_size, or set training.precision to bfloat16."
            )
        )
        stepper = Stepper(network, plan, team, where, job.classes, len(samples[0].memory) + 1, job.seed)
        held = entered.enter_context(lease(job.checkpoints)) if team.first else None
        stop = entered.enter_context(stopping()) if team.first else None
        # The others wait here: nobody reads a checkpoint before the lease is held.
        if team.any(team.first and _finished(job, fingerprint), where):
            return
        if (state := checkpoint.load()) is not None:
            stepper.resume(state)
            journal.resume(state)
        if team.first:
            _say_start(plan, where, journal.done)
            journal.open_board(job.out / "tensorboard")
            entered.callback(journal.close)
        for frames, labels in feed(batches, range(journal.done, plan.iterations), workers, where):
            loss, pixels = stepper.step(frames, labels, journal.done)
            if not math.isfinite(loss):
                names = batches.names(journal.done)
                raise _no_number(loss, journal.done, names, _kept(job.checkpoints, team, frames, labels, names))
            journal.add(loss, pixels)
            finished = journal.done == plan.iterations
            told = team.any(stop is not None and stop.due(), where)
            if held and not finished and (told or journal.done % plan.checkpoint_every == 0):
                held.check()
                checkpoint.save({**stepper.state(), **journal.state()})
            if told and not finished:
                if stop is None:
                    return
                say(f"stopped {stop.reason} after iteration {journal.done}: run again to go on from there.")
                raise SystemExit(stop.code)
        if held:
            held.check()
            _finish(job, network, journal, fingerprint, len(samples))
            checkpoint.remove()


def _finished(job: _Job, fingerprint: str) -> bool:
    """Whether another process has meanwhile done what this one was to do."""
    try:
        facts = json.loads((job.out / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if facts.get("fingerprint") != fingerprint or not (job.out / "model.safetensors").is_file():
        return False
    say(f"{job.out} holds this very training, finished: there is nothing to do.")
    return True


def _say_start(plan: TrainingSettings, where: torch.device, done: int) -> None:
    others = f" and {plan.processes - 1} more" if plan.processes > 1 else ""
    say(f"training on {device_name(where)}{others}, in {plan.precision}.")
    if done:
        say(f"resuming at iteration {done}")
    elif plan.network.get("pretrained") is None:
        say("The backbone starts from random weights: name weights in network.pretrained to start from better ones.")


def _finish(job: _Job, network: nn.Module, journal: Journal, fingerprint: str, samples: int) -> None:
    weights = job.plan.weights
    facts = {
        "fingerprint": fingerprint,
        "classes": list(job.classes.names),
        "absent": journal.absent(),
        "iterations": job.plan.iterations,
        "samples": samples,
        "seed": job.seed,
        "parameters": parameter_count(network),
        "pretrained": weights.sha256 if weights else "random",
        "settings": dataclasses.asdict(job.plan),
    }
    if journal.absent():
        say(f"Training labels seem to have no pixel of {', '.join(journal.absent())}: the network cannot know them.")
    journal.write(job.out / "log.csv")
    save_model(job.out / "model.safetensors", network, job.plan.network, job.classes)
    # Last, since it says that all is there (`_finished`).
    facts["model"] = content_hash(job.out / "model.safetensors")
    write_text(job.out / "training.json", json.dumps(facts, indent=2) + "\n")


def _kept(folder: Path, team: Team, frames: Tensor, labels: Tensor, names: Sequence[str]) -> Path:
    """Keep this process's part of a batch, for whoever looks into it."""
    path = folder / f"{BAD_BATCH}{team.rank}.pt"
    save_state(path, {"frames": frames.cpu(), "labels": labels.cpu(), "images": list(names)})
    return path


def _no_number(loss: float, iteration: int, names: Sequence[str], kept: Path) -> UserError:
    return UserError(
        f"The loss is {loss} at iteration {iteration}: lower training.lr, or look at the labels of that batch "
        f"({', '.join(names)}; frames and labels are in {kept})."
    )


def training_fingerprint(manifest: str | Path, classes: ClassTable, plan: TrainingSettings, seed: int) -> str:
    """A digest of all that the trained weights depend on."""
    return digest(VERSIONS["train"], content_hash(manifest), classes.label_digest, plan.decisive, seed)


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
