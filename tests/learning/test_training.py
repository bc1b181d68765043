import csv
import dataclasses
import functools
import inspect
import json
import multiprocessing
import os
import pickle
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable
from fewframes.learning import steps, training
from fewframes.learning.lease import lease
from fewframes.learning.losses import total_loss
from fewframes.learning.networks.tdnet import TDNet
from fewframes.learning.networks.tmanet import TMANet
from fewframes.learning.settings import TrainingSettings
from fewframes.learning.training import train, training_fingerprint, use_threads

ROOT = Path(__file__).parents[2]
FILES = ["log.csv", "model.safetensors", "training.json"]


@pytest.fixture(scope="session")
def uninterrupted(tiny, settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("uninterrupted")
    train(**tiny.arguments(), settings=settings, seed=3, out=out, checkpoints=out / "checkpoints")
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    found = sorted(p.name for p in out.iterdir() if p.name != "tensorboard")
    assert found == FILES, "outputs are complete, and no checkpoint is left"
    return {name: (out / name).read_bytes() for name in FILES}


def at_step(monkeypatch: pytest.MonkeyPatch, count: int, action: Any) -> None:
    """Have `action` called in the training step number `count` (from 1)."""
    made = 0

    def counted(*arguments: Any) -> Any:
        nonlocal made
        made += 1
        if made == count:
            action()
        return total_loss(*arguments)

    monkeypatch.setattr(steps, "total_loss", counted)


def test_a_training_writes_its_log_facts_and_model(uninterrupted, settings) -> None:
    rows = list(csv.DictReader(uninterrupted["log.csv"].decode().splitlines()))
    assert [int(row["iteration"]) for row in rows] == list(range(8))
    assert float(rows[0]["lr"]) == pytest.approx(0.01)
    assert float(rows[0]["loss"]) == pytest.approx(1.4 * np.log(11), rel=0.2), "untrained, all classes are alike"
    assert [row["miou"] for row in rows[:7]] == [""] * 7
    assert 0 < float(rows[7]["miou"]) < 100
    facts = json.loads(uninterrupted["training.json"])
    assert "tree" in facts["absent"] and not {"sky", "road", "car"} & set(facts["absent"])
    assert facts["pretrained"] == "random"
    assert (facts["samples"], facts["iterations"], facts["seed"]) == (5, 8, 3)
    assert facts["settings"]["network"] == settings["network"]


@pytest.mark.parametrize("step", [2, 6])
def test_a_crashed_training_resumes_exactly(
    tiny, settings, uninterrupted, tmp_path, monkeypatch, capsys, step: int
) -> None:
    def crash() -> None:
        raise RuntimeError("power cut")

    run = {**tiny.arguments(), "settings": settings, "seed": 3, "out": tmp_path, "checkpoints": tmp_path / "c"}
    with monkeypatch.context() as patched:
        at_step(patched, step, crash)
        with pytest.raises(RuntimeError, match="power cut"):
            train(**run)
    assert not (tmp_path / "model.safetensors").exists()
    train(**run)
    assert contents(tmp_path) == uninterrupted
    assert ("resuming at iteration 3" in capsys.readouterr().err) == (step == 6)


def test_a_training_killed_by_force_resumes_exactly(tiny, settings, uninterrupted, tmp_path, capsys) -> None:
    run = {**tiny.arguments(), "settings": settings, "seed": 3, "out": tmp_path, "checkpoints": tmp_path / "c"}
    code = """
import os, pickle, signal, sys
import torch
from fewframes.core.labels import load_class_table
from fewframes.learning import steps, training
torch.set_num_threads(1)
calls, real = [], steps.total_loss
def counted(*arguments):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
steps.total_loss = counted
training.train(**pickle.load(sys.stdin.buffer))
"""
    child = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(run), check=False, capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert (tmp_path / "c" / "lease").exists()
    train(**run)
    spoken = capsys.readouterr().err
    assert "which is gone: taking over" in spoken
    assert "resuming at iteration 3" in spoken
    assert contents(tmp_path) == uninterrupted


def test_a_training_that_another_process_finished_meanwhile_is_not_done_again(
    tiny, settings, uninterrupted, tmp_path, monkeypatch, capsys
) -> None:
    run = {**tiny.arguments(), "seed": 3, "out": tmp_path, "checkpoints": tmp_path / "c"}
    train(**run, settings=settings)
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as patched:
        at_step(patched, 1, lambda: pytest.fail("it was trained again"))
        train(**run, settings={**settings, "checkpoint_every": 2})
    assert "holds this very training, finished" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before
    (tmp_path / "model.safetensors").unlink()  # as Snakemake does before it makes a file anew
    train(**run, settings=settings)
    assert contents(tmp_path) == uninterrupted
    train(**run, settings={**settings, "lr": 0.02})
    assert contents(tmp_path) != uninterrupted


def test_a_folder_that_is_being_trained_into_is_refused(tiny, settings, tmp_path, monkeypatch) -> None:
    run = {**tiny.arguments(), "settings": settings, "seed": 3, "out": tmp_path / "o", "checkpoints": tmp_path / "c"}
    monkeypatch.setattr(training, "lease", functools.partial(lease, beat=0.2))
    with lease(tmp_path / "c", beat=0.02), pytest.raises(UserError, match="is being trained by process"):
        train(**run)
    assert not (tmp_path / "o" / "model.safetensors").exists()


@pytest.mark.parametrize(("step", "checkpoint_every"), [(3, 3), (8, 100)])
def test_a_training_that_lost_its_lease_writes_nothing(
    tiny, settings, tmp_path, monkeypatch, step: int, checkpoint_every: int
) -> None:
    def take_over() -> None:
        (tmp_path / "theirs").write_text('{"token": "theirs"}')
        (tmp_path / "theirs").replace(tmp_path / "c" / "lease")

    changed = {**settings, "checkpoint_every": checkpoint_every}
    at_step(monkeypatch, step, take_over)
    with pytest.raises(UserError, match=r"c is no longer this training's"):
        train(**tiny.arguments(), settings=changed, seed=3, out=tmp_path / "o", checkpoints=tmp_path / "c")
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["lease"]
    assert not (tmp_path / "o" / "model.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_where_it_is_and_leaves(
    tiny, settings, uninterrupted, tmp_path, monkeypatch, capsys, number: signal.Signals
) -> None:
    run = {**tiny.arguments(), "settings": settings, "seed": 3, "out": tmp_path, "checkpoints": tmp_path / "c"}
    before = signal.getsignal(number)
    with monkeypatch.context() as patched:
        at_step(patched, 5, lambda: os.kill(os.getpid(), number))
        with pytest.raises(SystemExit) as left:
            train(**run)
    assert left.value.code == 128 + number
    assert signal.getsignal(number) == before
    train(**run)
    spoken = capsys.readouterr().err
    assert f"stopped by {number.name} after iteration 5" in spoken
    assert "resuming at iteration 5" in spoken
    assert contents(tmp_path) == uninterrupted


def test_a_signal_to_the_whole_job_ends_its_log_and_not_its_checkpoint(tiny, settings, tmp_path) -> None:
    changed = {**settings, "checkpoint_every": 100}
    run = {**tiny.arguments(), "settings": changed, "seed": 3, "out": tmp_path, "checkpoints": tmp_path / "c"}
    code = """
import os, pickle, signal, sys, time
from fewframes.learning import journal, steps, training
journal._SECONDS_BETWEEN_LINES = 0
calls, real = [], steps.total_loss
def counted(*arguments):
    calls.append(1)
    if len(calls) == 5:
        os.killpg(0, signal.SIGTERM)
        time.sleep(1)
    return real(*arguments)
steps.total_loss = counted
training.train(**pickle.load(open(sys.argv[1], "rb")))
"""
    (tmp_path / "run.pickle").write_bytes(pickle.dumps(run))
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {tmp_path}/run.pickle 2>&1 | tee {tmp_path}/log"
    subprocess.run(["bash", "-c", command], start_new_session=True, check=False, timeout=120)
    deadline = time.monotonic() + 60
    while not (tmp_path / "c" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(torch.load(tmp_path / "c" / "last.pt", weights_only=True)["losses"]) == 5


def test_a_damaged_or_foreign_checkpoint_changes_nothing(
    tiny, settings, uninterrupted, tmp_path, monkeypatch, capsys
) -> None:
    run = {**tiny.arguments(), "settings": settings, "seed": 3, "out": tmp_path, "checkpoints": tmp_path / "c"}
    for changed in ({"seed": 4}, {"settings": {**settings, "lr": 0.02}}, {}):
        with monkeypatch.context() as patched:
            at_step(patched, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
            with pytest.raises(SystemExit):
                train(**{**run, **changed})
        if not changed:
            file = tmp_path / "c" / "last.pt"
            file.write_bytes(file.read_bytes()[:-5000])
    train(**run)
    assert contents(tmp_path) == uninterrupted
    spoken = capsys.readouterr().err
    assert spoken.count("belongs to other samples or settings: training starts anew") == 2
    assert spoken.count("is damaged") == 1


def test_workers_and_cache_change_nothing_that_is_trained(tiny, settings, uninterrupted, tmp_path) -> None:
    changed = {**settings, "workers": 2, "cache_mb": 0, "checkpoint_every": 100}
    train(**tiny.arguments(), settings=changed, seed=3, out=tmp_path, checkpoints=tmp_path / "c")
    result = contents(tmp_path)
    assert result["model.safetensors"] == uninterrupted["model.safetensors"]
    assert result["log.csv"] == uninterrupted["log.csv"]


@pytest.mark.parametrize(("cache_mb", "expected"), [(0, 2), (512, 0)])
def test_samples_held_in_memory_need_no_workers(
    tiny, settings, tmp_path, monkeypatch, cache_mb: float, expected: int
) -> None:
    seen: list[int] = []
    at_step(monkeypatch, 1, lambda: seen.append(len(multiprocessing.active_children())))
    changed = {**settings, "workers": 2, "cache_mb": cache_mb, "iterations": 20}
    train(**tiny.arguments(), settings=changed, seed=3, out=tmp_path, checkpoints=tmp_path / "c")
    assert seen == [expected]


@pytest.mark.parametrize(("threads", "expected"), [(None, 2), (0, 2), (1, 1)])
def test_threads_are_as_many_as_named(threads: int | None, expected: int) -> None:
    torch.set_num_threads(2)
    use_threads(threads)
    assert torch.get_num_threads() == expected


def test_another_seed_trains_other_weights(tiny, settings, uninterrupted, tmp_path) -> None:
    train(**tiny.arguments(), settings=settings, seed=4, out=tmp_path, checkpoints=tmp_path / "c")
    assert contents(tmp_path)["model.safetensors"] != uninterrupted["model.safetensors"]


def test_a_loss_that_is_no_number_stops_the_training(tiny, settings, tmp_path) -> None:
    wild = {**settings, "optimiser": "sgd", "lr": 1e30}
    with pytest.raises(UserError, match=r"The loss is (nan|inf) at iteration \d: lower training.lr"):
        train(**tiny.arguments(), settings=wild, seed=3, out=tmp_path, checkpoints=tmp_path / "c")
    assert not (tmp_path / "model.safetensors").exists()
    kept = torch.load(tmp_path / "c" / "bad-batch-0.pt", weights_only=True)
    assert kept["frames"].shape == (2, 2, 32, 48, 3) and kept["labels"].shape == (2, 32, 48)
    assert len(kept["images"]) == 2


def test_samples_of_ignore_alone_train_without_harm(own_tiny, settings, tmp_path) -> None:
    for i in (0, 2, 4):
        Image.fromarray(np.full((48, 64), 11, np.uint8)).save(own_tiny.root / f"{i}_label.png")
    fine = own_tiny.manifest.read_text().splitlines()
    own_tiny.manifest.write_text("\n".join(line for line in fine if "pseudo" not in line) + "\n")
    own_tiny.sign()
    labelled = {**settings, "iterations": 2, "ignore_in_loss_mean": True}
    train(**own_tiny.arguments(), settings=labelled, seed=3, out=tmp_path / "o", checkpoints=tmp_path / "c")
    assert [row["loss"] for row in csv.DictReader((tmp_path / "o" / "log.csv").open())] == ["0.000000"] * 2


def test_the_defaults_are_those_of_the_config() -> None:
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
    described = dict(schema["properties"]["training"]["properties"]["tmanet"]["properties"])
    structure = described.pop("network")["properties"]
    del described["device"], described["experiments"]  # of the command and of the workflow
    ours = dataclasses.asdict(TrainingSettings(network={}))
    del ours["network"], ours["weights_folder"]  # the folder is a key of the whole config
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in ours.items()}
    assert {key: value["default"] for key, value in described.items()} == plain
    assert {key: value["default"] for key, value in structure.items()} == defaults_of(TMANet)
    of_tdnet = schema["properties"]["training"]["properties"]["tdnet"]["properties"]["network"]["properties"]
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults_of(TDNet).items()}
    assert {key: value["default"] for key, value in of_tdnet.items()} == plain


def defaults_of(network: type) -> dict[str, Any]:
    parameters = {key: value.default for key, value in inspect.signature(network).parameters.items()}
    return {key: value for key, value in parameters.items() if key not in ("classes", "auxiliary")}


def test_a_training_of_tdnet_resumes_exactly_and_steps_what_it_does_not_use(tiny, settings, tmp_path) -> None:
    ours = {"network": {"name": "tdnet", "width": 8, "size": [64, 128]}, "loss": "ohem", "aux_weight": 0.5}
    ours |= {"crop": [64, 128], "iterations": 4, "batch_size": 2, "warmup": 2, "decay_all": False, "step_unused": True}
    run = {**tiny.arguments(), "seed": 3, "settings": ours}
    train(**run, out=tmp_path / "whole", checkpoints=tmp_path / "a")
    with pytest.MonkeyPatch.context() as patched:
        at_step(patched, 4, lambda: (_ for _ in ()).throw(RuntimeError("power cut")))
        with pytest.raises(RuntimeError, match="power cut"):
            train(
                **{**run, "settings": {**ours, "checkpoint_every": 2}},
                out=tmp_path / "parts",
                checkpoints=tmp_path / "b",
            )
    train(**run, out=tmp_path / "parts", checkpoints=tmp_path / "b")
    whole, parts = (tmp_path / name / "model.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    train(**{**run, "settings": {**ours, "step_unused": False}}, out=tmp_path / "skipping", checkpoints=tmp_path / "c")
    assert (tmp_path / "skipping" / "model.safetensors").read_bytes() != whole.read_bytes()


def test_a_training_is_another_one_where_what_it_depends_on_changed(tiny, settings, tmp_path) -> None:
    weights = tmp_path / "weights.safetensors"

    def fingerprint(classes: ClassTable = tiny.classes, seed: int = 3, **changed: Any) -> str:
        return training_fingerprint(tiny.manifest, classes, TrainingSettings.parse({**settings, **changed}), seed)

    weights.write_bytes(b"one")
    pretrained = {"network": {**settings["network"], "pretrained": str(weights)}}
    before = fingerprint(**pretrained)
    weights.write_bytes(b"two")
    sky = dataclasses.replace(tiny.classes.classes[0], id=99)
    other_ids = dataclasses.replace(tiny.classes, classes=(sky, *tiny.classes.classes[1:]))
    assert other_ids.names == tiny.classes.names
    prints = {fingerprint(), fingerprint(other_ids), fingerprint(seed=4), fingerprint(lr=0.02)}
    assert len(prints | {before, fingerprint(**pretrained)}) == 6
    assert fingerprint(workers=0, cache_mb=1, checkpoint_every=7) == fingerprint()


def test_the_learning_rate_is_the_published_one() -> None:
    plan = TrainingSettings.parse({"network": {"name": "tmanet"}})
    assert (plan.iterations, plan.batch_size, plan.optimiser) == (40_000, 8, "sgd")
    rates = [plan.rate_at(i) for i in (0, 10_000, 20_000, 30_000, 40_000)]
    np.testing.assert_allclose(rates, [0.01, 0.007742, 0.005405, 0.002943, 0.0001], atol=5e-7)


def test_the_learning_rate_of_tdnet_is_the_published_one() -> None:
    network = {"name": "tdnet"}
    plan = TrainingSettings.parse({"network": network, "warmup": 1000, "min_lr": 0.0})
    rates = [plan.rate_at(i) for i in (0, 500, 1000, 10_000, 20_000, 30_000)]
    np.testing.assert_allclose(rates, [1e-5, 0.000316, 0.01, 0.007897, 0.005482, 0.002938], atol=5e-7)


def test_the_loss_is_divided_by_all_pixels_or_by_the_labelled_ones() -> None:
    torch.manual_seed(0)
    logits = (torch.randn(2, 4, 6, 8), torch.randn(2, 4, 6, 8))
    labels = torch.randint(0, 4, (2, 6, 8), dtype=torch.uint8)
    labels[:, :, 2:] = 255
    plain = [F.cross_entropy(x, labels.long(), ignore_index=255) for x in logits]
    expected = plain[0] + 0.4 * plain[1]
    plan = TrainingSettings(network={}, ignore_in_loss_mean=True)
    torch.testing.assert_close(total_loss(logits, labels, plan), expected)
    plan = TrainingSettings(network={}, ignore_in_loss_mean=False)
    torch.testing.assert_close(total_loss(logits, labels, plan), expected / 4)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"lerning_rate": 1}, "training.lerning_rate is no setting"),
        ({"iterations": 0}, "training.iterations is 0"),
        ({"network": {"name": "tmanet", "pretrained": "none"}}, "The weights none do not exist"),
        ({"crop": [32]}, r"training.crop is \[32\]"),
        ({"scale": [2, 1]}, r"training.scale is \[2, 1\]"),
        ({"optimiser": "adam"}, "training.optimiser is 'adam'"),
        ({"loss": "focal"}, "training.loss is 'focal'"),
        ({"precision": "int8"}, "training.precision is 'int8'"),
        ({"augmentation": "none"}, "training.augmentation is 'none'"),
        ({"accumulate": 0}, "training.accumulate is 0"),
        ({"batch_size": 6, "accumulate": 2, "processes": 2}, "batch_size is 6: it must be a multiple of .* 4"),
        ({"teacher": "gone"}, "gone does not exist: correct training.teacher"),
        ({"lr": -1}, "training.lr is -1"),
        ({"warmup": 8}, "training.warmup is 8"),
        ({"network": {"name": "tmanet", "past_frames": 2}}, "has 1 past frames a sample and the network takes 2"),
    ],
)
def test_impossible_settings_are_named(tiny, settings, tmp_path, changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        train(**tiny.arguments(), settings={**settings, **changed}, seed=0, out=tmp_path, checkpoints=tmp_path)


def test_a_missing_gpu_is_named(tiny, settings, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="No GPU is to be seen, and the device of training is cuda"):
        train(**tiny.arguments(), settings=settings, seed=0, out=tmp_path, checkpoints=tmp_path, device="cuda")
