import copy
import csv
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.core.team import Team
from fewframes.learning import steps, stopping
from fewframes.learning.distillation import Teacher
from fewframes.learning.journal import WINDOW, Journal, counted
from fewframes.learning.modelfile import save_model
from fewframes.learning.networks import build_network
from fewframes.learning.settings import TrainingSettings
from fewframes.learning.steps import Stepper
from fewframes.learning.training import train, training_fingerprint

CAMVID = load_class_table("camvid")


class Plain(nn.Module):
    """A network without norms or chance: of parts of a batch it learns what it learns of the whole."""

    paths, past_frames, memory_frame = 1, 1, "previous"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(6, 11, 3, padding=1)

    def forward(self, clip: Tensor, path: int = 0) -> tuple[Tensor, ...]:
        return (self.conv(clip.flatten(1, 2)),)


def batch(size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(size, 2, 8, 12, 3, generator=generator)
    labels = torch.randint(0, 11, (size, 8, 12), generator=generator, dtype=torch.uint8)
    for i in range(size):  # as if coarse: each sample has its own share of ignore
        labels[i, : 2 * i] = 255
    return frames, labels


def stepped(**changed: Any) -> tuple[float, nn.Module, Tensor]:
    plan = TrainingSettings.parse({"network": {"name": "tmanet"}, "batch_size": 4, "lr": 0.5, **changed})
    network = Plain()
    stepper = Stepper(network, plan, Team(), torch.device("cpu"), CAMVID, 2, seed=0)
    loss, pixels = stepper.step(*batch(), 0)
    return loss, network, pixels


@pytest.mark.parametrize("labelled_only", [False, True])
@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_teaches_what_the_whole_does(labelled_only: bool, parts: int) -> None:
    whole, one, pixels = stepped(ignore_in_loss_mean=labelled_only)
    in_parts, other, same = stepped(ignore_in_loss_mean=labelled_only, accumulate=parts)
    assert in_parts == pytest.approx(whole, rel=1e-5)
    assert torch.equal(pixels, same)
    assert not torch.equal(one.conv.weight, Plain().conv.weight)
    torch.testing.assert_close(other.conv.weight, one.conv.weight, rtol=1e-5, atol=1e-6)


def test_precision_and_layout_are_what_the_settings_say(monkeypatch) -> None:
    seen: list[tuple[torch.dtype, bool]] = []
    real = Plain.forward

    def watched(self: Plain, clip: Tensor, path: int = 0) -> tuple[Tensor, ...]:
        made = real(self, clip, path)
        seen.append((made[0].dtype, clip.is_contiguous()))
        return made

    monkeypatch.setattr(Plain, "forward", watched)
    full, _, _ = stepped()
    half, network, _ = stepped(precision="bfloat16")
    stepped(channels_last=False)
    assert seen == [(torch.float32, False), (torch.bfloat16, False), (torch.float32, True)]
    assert network.conv.weight.dtype == torch.float32
    assert half == pytest.approx(full, rel=0.02) and half != full


def test_compile_is_asked_for_by_its_key(monkeypatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    stepped()
    assert not compiled
    _, network, _ = stepped(compile=True)
    assert compiled == [network]


def test_too_little_memory_names_the_keys(tiny, settings, tmp_path, monkeypatch) -> None:
    def full(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(steps, "total_loss", full)
    with pytest.raises(UserError, match=r"memory of cpu .* training.accumulate, lower training.crop"):
        train(**tiny.arguments(), settings=settings, seed=3, out=tmp_path / "o", checkpoints=tmp_path / "c")


def test_compiling_without_a_compiler_is_said_in_a_sentence(monkeypatch) -> None:
    def fails(*_: Any) -> Tensor:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

    monkeypatch.setattr(steps, "total_loss", fails)
    with pytest.raises(UserError, match=r"training.compile needs a C\+\+ compiler"):
        stepped()


def test_a_teacher_is_followed_as_much_as_it_weighs(tmp_path, settings) -> None:
    torch.manual_seed(5)
    path = tmp_path / "teacher.safetensors"
    save_model(path, build_network(settings["network"], 11), settings["network"], CAMVID)
    without, plain, _ = stepped(crop=[8, 12])
    alone, zero, _ = stepped(teacher=str(path), teacher_weight=0)
    taught, other, _ = stepped(teacher=str(path), teacher_weight=3)
    assert alone == without and torch.equal(plain.conv.weight, zero.conv.weight)
    assert taught > without and not torch.equal(plain.conv.weight, other.conv.weight)


def test_the_divergence_from_a_teacher_is_nothing_for_itself(tmp_path, settings) -> None:
    torch.manual_seed(5)
    network = build_network(settings["network"], 11)
    save_model(tmp_path / "t.safetensors", network, settings["network"], CAMVID)
    teacher = Teacher(tmp_path / "t.safetensors", CAMVID, Plain(), 3, torch.device("cpu"))
    clip = torch.randn(2, 3, 3, 32, 48)
    own = network.eval()(clip[:, 1:])[0].detach()
    assert float(teacher.loss(clip, [own], 0.5)) == pytest.approx(0, abs=1e-6)
    p, q = (x[:, :, ::8, ::8].softmax(1) for x in (own, 2 * own + 1))
    expected = (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(teacher.loss(clip, [own, 2 * own + 1], 0.5), 0.5 * expected)
    alone = Plain()
    alone.memory_frame = "self"
    for pupil, frames in ((Plain(), 1), (alone, 3)):
        with pytest.raises(UserError, match=r"reads 1 past frames, and its pupil sees 0"):
            Teacher(tmp_path / "t.safetensors", CAMVID, pupil, frames, torch.device("cpu"))


def test_a_training_depends_on_its_teachers_weights(tiny, settings, tmp_path) -> None:
    path = tmp_path / "t.safetensors"
    plan = TrainingSettings.parse({**settings, "teacher": str(path)})
    prints = set()
    for content in (b"one", b"two"):
        path.write_bytes(content)
        prints.add(training_fingerprint(tiny.manifest, tiny.classes, plan, 3))
    assert len(prints) == 2


def test_a_training_stops_before_its_jobs_time_is_up_and_goes_on(tiny, settings, tmp_path, monkeypatch, capsys) -> None:
    run = {**tiny.arguments(), "settings": settings, "seed": 3}
    train(**run, out=tmp_path / "whole", checkpoints=tmp_path / "a")
    for _ in range(2):
        monkeypatch.setenv(stopping.JOB_END, f"{time.time() + 20:.0f}")
        with pytest.raises(SystemExit) as left:
            train(**run, out=tmp_path / "parts", checkpoints=tmp_path / "b")
        assert left.value.code == stopping.UNFINISHED
    assert "before its job's time is up after iteration 2" in capsys.readouterr().err
    monkeypatch.setenv(stopping.JOB_END, f"{time.time() + 3600:.0f}")
    train(**run, out=tmp_path / "parts", checkpoints=tmp_path / "b")
    for name in ("model.safetensors", "log.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    monkeypatch.setenv(stopping.JOB_END, "soon")
    with pytest.raises(UserError, match="SLURM_JOB_END_TIME is 'soon'"):
        train(**run, out=tmp_path / "never", checkpoints=tmp_path / "c")


def test_only_the_latest_iterations_tell_how_long_one_takes(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(stopping.time, "time", lambda: now[0])
    stop = stopping.Stopping(2000.0)
    now[0] = 400  # the first compiles the network
    assert not stop.due()
    while not stop.due():
        now[0] += 1
    assert 2000 - now[0] == pytest.approx(31, abs=1)
    assert (stop.reason, stop.code) == ("31 s before its job's time is up", stopping.UNFINISHED)


def test_two_processes_train_one_network_and_resume_exactly(tiny, settings, tmp_path, monkeypatch) -> None:
    # Samples that do not fit into the cache: each process has workers of its own.
    shared = {**settings, "processes": 2, "iterations": 4, "cache_mb": 0, "workers": 1}
    run = {**tiny.arguments(), "settings": shared, "seed": 3, "threads": 2}
    train(**run, out=tmp_path / "whole", checkpoints=tmp_path / "a")
    monkeypatch.setenv(stopping.JOB_END, f"{time.time() + 5:.0f}")
    with pytest.raises(SystemExit):
        train(**run, out=tmp_path / "parts", checkpoints=tmp_path / "b")
    monkeypatch.delenv(stopping.JOB_END)
    train(**run, out=tmp_path / "parts", checkpoints=tmp_path / "b")
    for name in ("model.safetensors", "log.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    alone = {**run, "settings": {**settings, "iterations": 4}}
    train(**alone, out=tmp_path / "alone", checkpoints=tmp_path / "c")
    first = [float(next(csv.DictReader((tmp_path / n / "log.csv").open()))["loss"]) for n in ("whole", "alone")]
    assert first[0] == pytest.approx(first[1], rel=0.02), "the same batch; other channels are dropped"


def test_the_journal_tells_miou_by_windows_and_goes_on_where_it_was(tmp_path) -> None:
    plan = TrainingSettings.parse({"network": {"name": "tmanet"}, "iterations": WINDOW + 3, "batch_size": 1})
    right, wrong = torch.zeros(11, 11, dtype=torch.int64), torch.zeros(11, 11, dtype=torch.int64)
    right[2, 2] = right[3, 3] = 5
    wrong[2, 3] = 10

    def told(parts: list[range]) -> bytes:
        journal, state = Journal(plan, CAMVID, "a/b/c"), None
        for part in parts:
            journal = Journal(plan, CAMVID, "a/b/c")
            if state:
                journal.resume(state)
            journal.open_board(tmp_path / "board")
            for i in part:
                journal.add(1 / (i + 1), right if i < WINDOW else wrong)
            state = copy.deepcopy(journal.state())
            journal.close()
        assert journal.absent() == [n for i, n in enumerate(CAMVID.names) if i not in (2, 3)]
        journal.write(tmp_path / "log.csv")
        return (tmp_path / "log.csv").read_bytes()

    whole = told([range(WINDOW + 3)])
    rows = list(csv.DictReader(whole.decode().splitlines()))
    assert {i: row["miou"] for i, row in enumerate(rows) if row["miou"]} == {WINDOW - 1: "100.00", WINDOW + 2: "0.00"}
    assert [steps for steps, _ in points(tmp_path / "board")] == [WINDOW, WINDOW + 3]
    assert told([range(20), range(20, WINDOW), range(WINDOW, WINDOW + 3)]) == whole
    assert [step for step, _ in points(tmp_path / "board")] == [WINDOW, WINDOW + 3]
    assert points(tmp_path / "board")[-1][1]["train/loss"] == pytest.approx(np.mean([1 / 51, 1 / 52, 1 / 53]))


def points(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """The curves' points that TensorBoard would read, by step."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: dict[int, dict[str, float]] = {}
    started = SessionLog.SessionStatus.Value("START")
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            if event.HasField("session_log") and event.session_log.status == started:
                # As TensorBoard does it: a process that starts anew at a step takes back what is from there on.
                found = {step: values for step, values in found.items() if step < event.step}
            for value in event.summary.value:
                found.setdefault(event.step, {})[value.tag] = value.simple_value
            data = data[16 + length :]
    return sorted(found.items())


def test_pixels_are_counted_on_a_grid_without_the_ignored() -> None:
    logits = torch.full((1, 3, 8, 8), -1.0)
    logits[:, 1] = 0
    labels = torch.full((1, 8, 8), 1, dtype=torch.uint8)
    labels[:, :4] = 255
    labels[:, 4, 4] = 2
    expected = torch.zeros(3, 3, dtype=torch.int64)
    expected[1, 1] = expected[2, 1] = 1
    assert torch.equal(counted(logits, labels), expected)
