import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

from fewframes.cli.models import predict as command
from fewframes.core.errors import UserError
from fewframes.core.images import read_image, read_label
from fewframes.core.labels import ClassTable, load_class_table
from fewframes.learning import prediction
from fewframes.learning.augmentation import normalise
from fewframes.learning.evaluation import EvaluationSettings, predict
from fewframes.learning.modelfile import load_model
from fewframes.learning.networks import build_network
from fewframes.learning.prediction import open_footage, predict_clip, write_ids
from fewframes.learning.training import save_model

CPU = torch.device("cpu")
WHOLE = {"mode": "whole"}
SLIDE = {"mode": "slide", "crop": [32, 48], "stride": [16, 16]}
SIZE = (48, 64)
TDNET: dict[str, Any] = {"name": "tdnet", "width": 4, "size": SIZE}


@pytest.fixture(scope="module")
def classes() -> ClassTable:
    return load_class_table("camvid")


def written_model(path: Path, settings: dict[str, Any], classes: ClassTable) -> Path:
    """A network that was never trained, and whose classes the pixels decide nevertheless."""
    torch.manual_seed(0)
    network = build_network(settings, len(classes.names))
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    save_model(path, network, settings, classes)
    return path


@pytest.fixture(scope="module")
def models(settings, classes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the number of past frames that a network reads; `tdnet` is one that streams."""
    folder = tmp_path_factory.mktemp("models")
    wanted = {"1": settings["network"], "2": {**settings["network"], "past_frames": 2}, "tdnet": TDNET}
    return {name: written_model(folder / f"{name}.safetensors", each, classes) for name, each in wanted.items()}


def frame(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A box that moves over a noisy floor."""
    image = np.random.default_rng(number).integers(60, 120, (*size, 3), np.uint8)
    image[10:30, 4 * number : 4 * number + 20] = (200, 40, 30 * number)
    return image


def write_clip(folder: Path, count: int = 5, size: tuple[int, int] = SIZE) -> Path:
    """Frames f8.png, f9.png, f10.png ...: their natural order is not that of their letters."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(frame(number, size)).save(folder / f"f{8 + number}.png")
    return folder


def write_film(path: Path, codec: str, count: int = 5, fps: float = 25) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (SIZE[1], SIZE[0]))
    for number in range(count):
        writer.write(frame(number)[..., ::-1].copy())
    writer.release()
    return path


def film_frames(path: Path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    fps, frames = capture.get(cv2.CAP_PROP_FPS), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames, fps


def labels_in(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_label(path) for path in folder.glob("*.png")}


@pytest.mark.parametrize(("past", "mode"), [(1, WHOLE), (1, SLIDE), (2, WHOLE)])
def test_every_frame_is_predicted_from_itself_and_those_before_it(
    models, classes, tmp_path, capsys, past: int, mode: dict[str, Any]
) -> None:
    clip, out, model = write_clip(tmp_path / "clip"), tmp_path / "out", models[str(past)]
    assert predict_clip(model, clip, out, classes, mode, overlay=False, native_ids=False) == 5
    network, plan = load_model(model, classes), EvaluationSettings.parse(mode)
    found = labels_in(out)
    assert set(found) == {f"f{8 + n}" for n in range(5)}
    for n in range(5):
        # Before the beginning the first frame stands in.
        frames = [frame(max(0, n - back)) for back in range(past, -1, -1)]
        np.testing.assert_array_equal(found[f"f{8 + n}"], predict(network, frames, plan, CPU))
    alone = [predict(network, [frame(n)] * (past + 1), plan, CPU) for n in range(5)]
    assert any((found[f"f{8 + n}"] != alone[n]).any() for n in range(1, 5)), "the past must matter for this to tell"
    assert f"5 frames in {out}; {past} of them have too few frames before them" in capsys.readouterr().err
    record = json.loads((out / "prediction.json").read_text())
    assert (record["frames"], record["frames_short_of_memory"], record["ids"]) == (5, past, "train")


def test_a_streaming_network_keeps_its_memory_and_alternates_paths(models, classes, tmp_path, capsys) -> None:
    clip, model = write_clip(tmp_path / "clip"), models["tdnet"]
    predict_clip(model, clip, tmp_path / "out", classes, WHOLE, overlay=False, native_ids=False)
    network: Any = load_model(model, classes)
    memory, found, clips = None, labels_in(tmp_path / "out"), []
    with torch.inference_mode():
        for n in range(5):
            image = torch.from_numpy(prediction_input(n))
            logits, memory = network.step(image, memory, n % 2)
            np.testing.assert_array_equal(found[f"f{8 + n}"], logits[0].argmax(0).numpy())
            clips.append((found[f"f{8 + n}"], network.step(image, None, n % 2)[0][0].argmax(0).numpy()))
    np.testing.assert_array_equal(*clips[0])
    assert any((streamed != alone).any() for streamed, alone in clips[1:]), "the memory must matter for this to tell"
    assert (
        "1 of them have too few frames before them: the network's memory was still filling" in capsys.readouterr().err
    )


def prediction_input(number: int) -> np.ndarray:
    """A frame as networks take it, `float32 [1, 3, H, W]`."""
    return normalise(frame(number)).transpose(2, 0, 1)[None].copy()


class Remembering(nn.Module):
    """A streaming network that names a pixel by the one at its place in the frame before, or 0 at the beginning."""

    paths, past_frames, memory_frame = 2, 1, "previous"

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []

    def step(self, image: Tensor, memory: Tensor | None, path: int) -> tuple[Tensor, Tensor]:
        self.taken.append(path)
        seen = torch.zeros_like(image[:, 0]) if memory is None else memory
        now = (image[:, 0] > 0).to(image.dtype)  # bright red: class 1
        return torch.stack([0.5 - seen, seen - 0.5], 1), now


def test_each_window_of_a_stream_has_a_memory_of_its_own(classes, tmp_path, monkeypatch) -> None:
    network = Remembering()
    monkeypatch.setattr(prediction, "load_model", lambda path, classes: network)
    clip, model = write_clip(tmp_path / "clip"), tmp_path / "model"
    model.write_bytes(b"its content only goes into the record")
    predict_clip(model, clip, tmp_path / "out", classes, SLIDE, overlay=False, native_ids=False)
    assert network.taken == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4 + [0] * 4  # four windows a frame
    found = labels_in(tmp_path / "out")
    assert not found["f8"].any()
    for n in range(1, 5):
        np.testing.assert_array_equal(found[f"f{8 + n}"], prediction_input(n - 1)[0, 0] > 0)


def test_pngs_hold_native_ids_in_the_classes_colours(tmp_path) -> None:
    table = load_class_table("cityscapes")
    label = np.arange(19, dtype=np.uint8).reshape(1, 19).repeat(3, axis=0)
    for name, native, expected in (("a", True, table.to_native_ids(label)), ("b", False, label)):
        path = tmp_path / f"{name}.png"
        write_ids(path, label, table, native)
        np.testing.assert_array_equal(read_label(path), expected)
        np.testing.assert_array_equal(read_image(path), table.colour(label))


def test_a_lossless_video_is_predicted_as_its_frames_are(models, classes, tmp_path) -> None:
    folder, film = write_clip(tmp_path / "clip"), write_film(tmp_path / "clip.avi", "FFV1")
    for clip in (folder, film):
        predict_clip(models["1"], clip, tmp_path / clip.suffix[1:] / "out", classes, WHOLE, overlay=False)
    frames, video = labels_in(tmp_path / "out"), labels_in(tmp_path / "avi" / "out")
    assert sorted(video) == [f"{n:06d}" for n in range(5)]
    for n in range(5):
        np.testing.assert_array_equal(video[f"{n:06d}"], frames[f"f{8 + n}"])


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_the_overlay_shows_every_frame_under_its_classes(models, classes, tmp_path, size: tuple[int, int]) -> None:
    clip, out = write_clip(tmp_path / "clip", 3, size), tmp_path / "out"
    predict_clip(models["1"], clip, out, classes, WHOLE, native_ids=False)
    shown, fps = film_frames(out / "overlay.mp4")
    assert (len(shown), fps) == (3, 17)
    for n, (name, label) in enumerate(sorted(labels_in(out).items(), key=lambda item: int(item[0][1:]))):
        assert label.shape == size
        assert shown[n].shape == (48, 64, 3), "the codec needs even sides"
        blend = (frame(n, size).astype(float) + classes.colour(label)) / 2
        assert name == f"f{8 + n}"
        assert np.abs(shown[n][: size[0], : size[1]] - blend).mean() < 12  # it is a lossy codec
        unlabelled = np.abs(shown[n][: size[0], : size[1]].astype(float) - frame(n, size)).mean()
        assert unlabelled > 24


def test_the_overlay_runs_at_the_videos_own_rate_or_the_one_asked_for(models, classes, tmp_path) -> None:
    clip = write_film(tmp_path / "clip.mp4", "mp4v", 3, fps=29.97)
    for out, fps, found in ((tmp_path / "a", None, 29.97), (tmp_path / "b", 5, 5)):
        predict_clip(models["1"], clip, out, classes, WHOLE, fps=fps)
        assert film_frames(out / "overlay.mp4")[1] == pytest.approx(found, abs=1e-3)
        assert set(labels_in(out)) == {"000000", "000001", "000002"}


def test_pngs_can_be_of_the_size_that_is_scored(models, classes, tmp_path) -> None:
    clip, out = write_clip(tmp_path / "clip", 2), tmp_path / "out"
    predict_clip(models["1"], clip, out, classes, {**WHOLE, "size": [24, 32]})
    assert {label.shape for label in labels_in(out).values()} == {(24, 32)}
    assert film_frames(out / "overlay.mp4")[0][0].shape == (48, 64, 3)


def test_earlier_predictions_are_replaced_with_their_overlay(models, classes, tmp_path) -> None:
    clip, out = write_clip(tmp_path / "clip", 2), tmp_path / "out"
    predict_clip(models["1"], clip, out, classes, WHOLE)
    before = labels_in(out)
    predict_clip(models["2"], clip, out, classes, WHOLE, overlay=False)
    assert any((labels_in(out)[name] != before[name]).any() for name in before)
    assert sorted(path.name for path in out.iterdir()) == ["f8.png", "f9.png", "prediction.json"]


def assert_refused(named: str, *arguments: Any, **more: Any) -> None:
    with pytest.raises(UserError, match=named) as caught:
        predict_clip(*arguments, **more)
    assert "\n" not in str(caught.value)


def test_what_is_not_ours_is_never_touched(models, classes, tmp_path) -> None:
    clip = write_clip(tmp_path / "clip", 3)
    before = {path.name: path.read_bytes() for path in clip.iterdir()}
    assert_refused("holds 'f10.png', which is no prediction", models["1"], clip, clip, classes, WHOLE)
    assert {path.name: path.read_bytes() for path in clip.iterdir()} == before
    out = tmp_path / "out"
    predict_clip(models["1"], clip, out, classes, WHOLE, overlay=False)
    (out / "thesis.tex").write_text("years of work")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert_refused("holds 'thesis.tex'", models["1"], clip, out, classes, WHOLE)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert_refused("cannot be written to", models["1"], clip, out / "thesis.tex", classes, WHOLE)
    shorter = write_clip(tmp_path / "shorter", 2)
    (out / "thesis.tex").unlink()
    assert_refused("holds 'f10.png'", models["1"], shorter, out, classes, WHOLE)


def test_clips_that_do_not_serve_are_named(models, classes, tmp_path) -> None:
    model, out = models["1"], tmp_path / "out"
    assert_refused("nowhere is no folder of pictures and no video", model, tmp_path / "nowhere", out, classes, WHOLE)
    (tmp_path / "empty").mkdir()
    assert_refused("empty holds no picture", model, tmp_path / "empty", out, classes, WHOLE)
    (tmp_path / "clip.txt").write_text("words")
    assert_refused("clip.txt is no folder of pictures and no video", model, tmp_path / "clip.txt", out, classes, WHOLE)
    (tmp_path / "clip.mp4").write_text("words")
    assert_refused("clip.mp4 cannot be opened", model, tmp_path / "clip.mp4", out, classes, WHOLE)
    sizes = write_clip(tmp_path / "sizes")
    Image.fromarray(frame(3, (40, 64))).save(sizes / "f11.png")
    assert_refused("f11.png is 64x40 and f8.png of the same clip 64x48", model, sizes, out, classes, WHOLE)
    assert not out.exists(), "all this is found before anything is written"
    damaged = write_clip(tmp_path / "damaged")
    (damaged / "f10.png").write_bytes((damaged / "f10.png").read_bytes()[:2000])
    assert_refused("f10.png is damaged", model, damaged, out, classes, WHOLE)
    assert sorted(path.name for path in out.iterdir()) == ["f8.png", "f9.png", "prediction.json"]
    assert "frames" not in json.loads((out / "prediction.json").read_text())


def test_a_truncated_video_is_named(models, classes, tmp_path) -> None:
    whole = write_film(tmp_path / "clip.avi", "FFV1", 8).read_bytes()
    (tmp_path / "clip.avi").write_bytes(whole[: len(whole) // 2])
    assert_refused(
        "clip.avi is (truncated or )?damaged", models["1"], tmp_path / "clip.avi", tmp_path / "o", classes, WHOLE
    )


def test_a_model_of_other_classes_is_named(models, tmp_path) -> None:
    clip = write_clip(tmp_path / "clip", 2)
    assert_refused("tells 11 classes apart", models["1"], clip, tmp_path / "o", load_class_table("cityscapes"), WHOLE)
    assert_refused(
        "evaluation.mode is 'half'", models["1"], clip, tmp_path / "o", load_class_table("camvid"), {"mode": "half"}
    )


def test_a_video_that_cannot_be_written_says_what_still_works(models, classes, tmp_path, monkeypatch) -> None:
    clip, out = write_clip(tmp_path / "clip", 2), tmp_path / "out"
    # A rate beyond what MPEG-4 can express.
    assert_refused("overlay.mp4 cannot be written .*--no-overlay", models["1"], clip, out, classes, WHOLE, fps=1e6)
    # A full disk, of which OpenCV says nothing: the frames are simply not there.
    with monkeypatch.context() as patched:
        patched.setattr(prediction, "frame_count", lambda path: 1)
        assert_refused("overlay.mp4 cannot be written .*--no-overlay", models["1"], clip, out, classes, WHOLE)
    assert not (out / "overlay.mp4").exists()
    assert predict_clip(models["1"], clip, out, classes, WHOLE, overlay=False) == 2
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_frames_of_several_clips_in_one_folder_are_said(tmp_path, capsys) -> None:
    clip = write_clip(tmp_path / "clip", 3)
    open_footage(clip)
    assert capsys.readouterr().err == ""
    (clip / "f10.png").rename(clip / "f20.png")
    (clip / "notes.txt").write_text("words")
    assert [path.name for path in open_footage(clip).files] == ["f8.png", "f9.png", "f20.png"]
    said = capsys.readouterr().err
    assert "the numbers of 1 frames do not follow those before, first of all 'f20.png'" in said
    assert "1 entries that are no picture are left out, such as 'notes.txt'" in said


def test_no_more_frames_are_held_than_the_network_reads(models, classes, tmp_path, monkeypatch) -> None:
    held: list[int] = []
    read: list[str] = []

    def counting(path: Path) -> np.ndarray:
        read.append(path.name)
        return read_image(path)

    def watching(network: nn.Module, frames: list[np.ndarray], *rest: Any) -> np.ndarray:
        held.append(len(frames))
        return predict(network, frames, *rest)

    monkeypatch.setattr(prediction, "read_image", counting)
    monkeypatch.setattr(prediction, "predict", watching)
    clip = write_clip(tmp_path / "clip")
    predict_clip(models["2"], clip, tmp_path / "out", classes, WHOLE, overlay=False)
    assert held == [3] * 5
    assert read == [f"f{8 + n}.png" for n in range(5)], "each is decoded once"


def test_the_command_passes_its_options_on(models, tmp_path) -> None:
    clip, out = write_clip(tmp_path / "clip", 3), tmp_path / "out"
    arguments = [models["1"], clip, "--out", out, "--classes", "camvid", "--settings", json.dumps(WHOLE)]
    run = CliRunner().invoke(command, [*map(str, arguments), "--train-ids", "--fps", "4", "--threads", "1"])
    assert run.exit_code == 0, run.output
    record = json.loads((out / "prediction.json").read_text())
    assert (record["ids"], record["evaluation"]["mode"], record["frames"]) == ("train", "whole", 3)
    assert film_frames(out / "overlay.mp4")[1] == 4
    again = CliRunner().invoke(command, [*map(str, arguments), "--no-overlay", "--device", "cpu"])
    assert again.exit_code == 0, again.output
    assert json.loads((out / "prediction.json").read_text())["ids"] == "native"
    assert not (out / "overlay.mp4").exists()


def test_a_network_without_a_past_is_shown_the_frame_itself(tmp_path):
    """`memory_frame: self`: every label is that of the frame alone."""
    classes = load_class_table("camvid")
    network = {"name": "tmanet", "backbone": "mobilenetv3_small_050", "output_stride": 16, "memory_frame": "self"}
    torch.manual_seed(0)
    save_model(tmp_path / "model.safetensors", build_network(network, len(classes.names)), network, classes)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(3)]
    (tmp_path / "clip").mkdir()
    for n, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "clip" / f"{n}.png")
    plan = {"mode": "whole"}
    predict_clip(tmp_path / "model.safetensors", tmp_path / "clip", tmp_path / "out", classes, plan, overlay=False,
                 native_ids=False, device="cpu", threads=1)  # fmt: skip
    model = load_model(tmp_path / "model.safetensors", classes)
    for n, frame in enumerate(frames):
        alone = predict(model, [frame, frame], EvaluationSettings.parse(plan), torch.device("cpu"))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / f"{n}.png")), alone)
