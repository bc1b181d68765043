import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fewframes.core import metrics
from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.learning import evaluation
from fewframes.learning.evaluation import (
    EvaluationSettings,
    evaluate,
    predict,
    resized,
    slide,
    windows,
    write_group_metrics,
)
from fewframes.learning.modelfile import load_model
from fewframes.learning.networks import build_network
from fewframes.learning.samples import SampleReader, read_manifest
from fewframes.learning.training import save_model, train


@pytest.fixture(scope="module")
def trained(tiny, settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned the tiny dataset."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained")
    longer = {**settings, "iterations": 60, "batch_size": 4, "crop": [48, 64], "scale": [0.8, 1.25]}
    train(**tiny.arguments(), settings=longer, seed=0, out=out, checkpoints=out / "c")
    return out / "model.safetensors"


def table(out: Path) -> dict[str, dict[str, str]]:
    return {row["class"]: row for row in csv.DictReader((out / "metrics.csv").open())}


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_images_too_large_for_the_device_end_in_a_sentence(mode: str) -> None:
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"cpu has not enough memory for images of 6x4: .* smaller evaluation.crop"):
        predict(full, [np.zeros((4, 6, 3), np.uint8)], EvaluationSettings(mode), torch.device("cpu"))


@pytest.mark.parametrize("mode", [{"mode": "whole"}, {"mode": "slide", "crop": [32, 48], "stride": [16, 16]}])
def test_a_network_learns_and_is_scored(tiny, trained, tmp_path, mode: dict[str, Any]) -> None:
    evaluate(trained, **tiny.arguments(), out=tmp_path, settings=mode)
    rows = table(tmp_path)
    assert list(rows) == [*tiny.classes.names, "mean"]
    # Naming every pixel by the commonest class (sky or road, under half) would give under 17 %.
    assert float(rows["mean"]["iou"]) > 50
    assert float(rows["road"]["iou"]) > 70
    saved = np.load(tmp_path / "confusion.npz")
    assert saved["confusion"].shape == (5, 11, 11)
    assert saved["confusion"].dtype == np.int64
    assert list(saved["clips"]) == [f"clip{i}" for i in range(5)]
    assert saved["confusion"].sum() == 5 * 48 * 64 == int(rows["mean"]["pixels"])
    iou = metrics.iou_per_class(saved["confusion"].sum(axis=0))
    assert float(rows["mean"]["iou"]) == pytest.approx(100 * metrics.mean(iou), abs=1e-4)
    assert rows["bicyclist"]["accuracy"] == "", "no true pixel, no number"


def test_true_classes_are_rows(tiny, trained, tmp_path) -> None:
    evaluate(trained, **tiny.arguments(), out=tmp_path, settings={"mode": "whole"})
    confusion = np.load(tmp_path / "confusion.npz")["confusion"]
    reader = SampleReader(tiny.root, tiny.labels_root, tiny.classes)
    for matrix, sample in zip(confusion, read_manifest(tiny.manifest), strict=True):
        np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(reader(sample)[1].ravel(), minlength=11))


def test_equal_evaluations_are_equal_bytes(tiny, trained, tmp_path) -> None:
    for out in ("a", "b"):
        evaluate(trained, **tiny.arguments(), out=tmp_path / out, settings={"mode": "whole"})
    for name in ("confusion.npz", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_was_counted_is_found_and_only_what_changed_is_counted_anew(tiny, trained, tmp_path, monkeypatch) -> None:
    settings = {"mode": "whole"}
    evaluate(trained, **tiny.arguments(), out=tmp_path, settings=settings)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert files.keys() == {"scored.npz", "confusion.npz", "metrics.csv", "groups.csv", "paths.csv"}
    # Snakemake deletes what is declared before it runs a job again.
    for name in files.keys() - {"scored.npz"}:
        (tmp_path / name).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "load_model", None)
        evaluate(trained, **tiny.arguments(), out=tmp_path, settings=settings)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files

    counted = []
    monkeypatch.setattr(evaluation, "load_model", lambda *given: counted.append(given) or load_model(*given))
    other = tmp_path / "other.csv"
    other.write_text("".join(tiny.manifest.read_text().splitlines(keepends=True)[:3]))
    arguments = tiny.arguments()
    evaluate(trained, **arguments | {"manifest": other}, out=tmp_path, settings=settings)
    assert len(counted) == 1 and len(np.load(tmp_path / "confusion.npz")["clips"]) == 2
    evaluate(trained, **arguments, out=tmp_path, settings={"mode": "whole", "size": [24, 32]})
    assert len(counted) == 2
    (tmp_path / "scored.npz").write_bytes(files["scored.npz"][:100])
    evaluate(trained, **arguments, out=tmp_path, settings=settings)
    assert len(counted) == 3 and (tmp_path / "metrics.csv").read_bytes() == files["metrics.csv"]
    with zipfile.ZipFile(tmp_path / "scored.npz") as archive:
        stored = archive.getinfo("confusion.npy")
    damaged = bytearray(files["scored.npz"])
    # Beyond the header of what is stored; its sums, which lie apart, are whole.
    damaged[stored.header_offset + 30 + len(stored.filename) + stored.compress_size // 2] ^= 0xFF
    (tmp_path / "scored.npz").write_bytes(damaged)
    evaluate(trained, **arguments, out=tmp_path, settings=settings)
    assert len(counted) == 4 and {p.name: p.read_bytes() for p in tmp_path.glob("*.npz")} == {
        name: files[name] for name in ("scored.npz", "confusion.npz")
    }


def test_pixels_can_be_counted_at_another_size(tiny, trained, tmp_path) -> None:
    evaluate(trained, **tiny.arguments(), out=tmp_path, settings={"mode": "whole", "size": [24, 32]})
    assert np.load(tmp_path / "confusion.npz")["confusion"].sum() == 5 * 24 * 32
    label = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    # Nearest neighbour as Pillow does it: the pixel under the middle of each new one.
    np.testing.assert_array_equal(resized(label, (24, 32)), label[1::2, 1::2])


def test_a_confusion_within_a_group_is_none(tmp_path) -> None:
    classes = load_class_table("cityscapes")
    confusion = np.zeros((19, 19), np.int64)
    confusion[0, 1] = 30  # road taken for sidewalk: both are flat
    confusion[13, 14] = 10  # a car for a truck: both are vehicles
    confusion[13, 0] = 10  # a car for road
    write_group_metrics(tmp_path / "groups.csv", confusion[None], classes)
    rows = {row["group"]: row for row in csv.DictReader((tmp_path / "groups.csv").open())}
    assert list(rows) == ["flat", "construction", "object", "nature", "sky", "human", "vehicle", "mean"]
    assert (rows["flat"]["iou"], rows["flat"]["accuracy"]) == ("75.0000", "100.0000")
    assert (rows["vehicle"]["iou"], rows["sky"]["iou"]) == ("50.0000", "")
    assert (rows["mean"]["iou"], rows["mean"]["pixels"]) == ("62.5000", "50")


def test_the_windows_of_a_cityscapes_frame_are_the_published_eight() -> None:
    boxes = windows(1024, 2048, (769, 769), (513, 513))
    assert [(y.start, x.start) for y, x in boxes] == [(y, x) for y in (0, 255) for x in (0, 513, 1026, 1279)]
    assert all(y.stop - y.start == x.stop - x.start == 769 for y, x in boxes)


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.data(),
)
def test_windows_cover_the_image_and_stay_inside(
    height: int, width: int, crop: tuple[int, int], data: st.DataObject
) -> None:
    stride = (data.draw(st.integers(1, crop[0])), data.draw(st.integers(1, crop[1])))
    visits = np.zeros((height, width), int)
    for box in windows(height, width, crop, stride):
        assert visits[box].shape == (min(height, crop[0]), min(width, crop[1]))
        visits[box] += 1
    assert visits.min() >= 1


class PixelNetwork(nn.Module):
    """Sees nothing but the pixel itself, in both frames: where it looks from makes no difference."""

    def forward(self, clip: Tensor, path: int = 0) -> tuple[Tensor, ...]:
        return (clip.sum(dim=1) * 2,)


def test_overlapping_windows_are_averaged_in_place() -> None:
    torch.manual_seed(0)
    clip = torch.rand(1, 2, 3, 20, 33)
    torch.testing.assert_close(slide(PixelNetwork(), clip, (8, 9), (5, 4)), clip.sum(dim=1) * 2)


def test_a_window_larger_than_the_image_is_the_whole_image(trained, tiny) -> None:
    network = load_model(trained, tiny.classes)
    clip = torch.rand(1, 2, 3, 48, 64)
    with torch.inference_mode():
        torch.testing.assert_close(slide(network, clip, (769, 769), (513, 513)), network(clip)[0])


def test_a_model_of_other_classes_or_none_is_named(trained, tmp_path) -> None:
    with pytest.raises(UserError, match="tells 11 classes apart"):
        load_model(trained, load_class_table("cityscapes"))
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes(trained.read_bytes()[:1000])
    for path in (damaged, tmp_path / "nowhere.safetensors"):
        with pytest.raises(UserError, match=f"{path.name} is no model of Fewframes"):
            load_model(path, load_class_table("camvid"))


def test_past_frames_that_the_network_does_not_take_are_left_out(own_tiny, trained, tmp_path) -> None:
    evaluate(trained, **own_tiny.arguments(), out=tmp_path / "one", settings={"mode": "whole"})
    text = own_tiny.manifest.read_text()
    more = text.replace("memory_1", "memory_1,memory_2").replace("_past.png", ".png,0_past.png")
    for clip in range(5):  # the older one is another, the later one as it was
        more = more.replace(f"{clip}.png,{clip}.png,0_past.png", f"{clip}.png,0.png,{clip}_past.png")
    own_tiny.manifest.write_text(more)
    evaluate(trained, **own_tiny.arguments(), out=tmp_path / "two", settings={"mode": "whole"})
    assert (tmp_path / "one" / "metrics.csv").read_bytes() == (tmp_path / "two" / "metrics.csv").read_bytes()


def test_a_manifest_of_too_few_past_frames_is_named(own_tiny, trained, tmp_path) -> None:
    rows = list(csv.DictReader(own_tiny.manifest.open()))
    with own_tiny.manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "memory_1"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UserError, match="has 0 past frames a sample and the network takes 1"):
        evaluate(trained, **own_tiny.arguments(), out=tmp_path, settings={"mode": "whole"})


@pytest.fixture(scope="module")
def tdnet(tiny, tmp_path_factory) -> Path:
    """A TDNet with random weights whose paths differ."""
    network = {"name": "tdnet", "width": 8, "size": [64, 128]}
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("tdnet") / "model.safetensors"
    save_model(path, build_network(network, len(tiny.classes.names)), network, tiny.classes)
    return path


def test_a_network_of_two_paths_is_scored_on_both(tiny, tdnet, tmp_path) -> None:
    plan = {"mode": "resized", "crop": [64, 128]}
    evaluate(tdnet, **tiny.arguments(), out=tmp_path, settings=plan)
    network, reader = load_model(tdnet, tiny.classes), SampleReader(tiny.root, tiny.labels_root, tiny.classes)
    count, totals = len(tiny.classes.names), []
    for path in (0, 1):
        total = np.zeros((count, count), np.int64)
        for sample in read_manifest(tiny.manifest):
            frames, label = reader(sample)
            label_of = predict(network, frames, EvaluationSettings.parse(plan), torch.device("cpu"), path)
            assert label_of.shape == label.shape
            total += metrics.confusion_matrix(label, label_of, count)[:, :count]
        totals.append(total)
    assert (totals[0] != totals[1]).any()
    each = [100 * metrics.mean(metrics.iou_per_class(total)) for total in totals]
    rows = list(csv.DictReader((tmp_path / "paths.csv").open()))
    assert [float(row["miou"]) for row in rows] == pytest.approx(each, abs=1e-4)
    last = list(csv.DictReader((tmp_path / "metrics.csv").open()))[-1]
    assert float(last["iou"]) == pytest.approx(np.mean(each), abs=1e-4)
    assert int(last["pixels"]) == totals[0].sum()
    np.testing.assert_array_equal(np.load(tmp_path / "confusion.npz")["confusion"].sum(0), totals[0] + totals[1])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"mode": "half"}, "evaluation.mode is 'half'"),
        ({"mdoe": "whole"}, "evaluation.mdoe is no setting"),
        ({"crop": [0, 5]}, r"evaluation.crop is \[0, 5\]"),
        ({"size": [720]}, r"evaluation.size is \[720\]"),
        ({"crop": [8, 8], "stride": [9, 8]}, "evaluation.stride is larger"),
    ],
)
def test_impossible_settings_are_named(tiny, trained, tmp_path, changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        evaluate(trained, **tiny.arguments(), out=tmp_path, settings=changed)
