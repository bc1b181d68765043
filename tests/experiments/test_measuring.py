"""What selections rest on, measured of clips whose motion and looks are known."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fewframes.cli import stages
from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, read_csv
from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.experiments import measuring
from fewframes.experiments.measuring import descriptor, flow_magnitude, measure_clips
from fewframes.experiments.selection import COLUMNS


@pytest.fixture
def textured():
    """A picture with detail everywhere."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 90, 3), np.uint8)
    return np.array(Image.fromarray(noise).resize((360, 120), Image.Resampling.BICUBIC))


def clip_of(folder, name, texture, speed, reach=2):
    """A clip whose whole picture moves to the left by `speed` pixels a frame."""
    (folder / name).mkdir(parents=True)
    for frame in range(2 * reach + 1):
        left = 100 + round(speed * frame)
        Image.fromarray(texture[:, left : left + 128]).save(folder / name / f"{frame}.png")
    return Clip(name, "train", "g", f"{name}/{reach}.png", name + "/{frame}.png", reach, 1, -reach, reach, "f.png")


def measured(folder, clips, name, tmp_path, **more):
    hashes = ContentHashes(tmp_path / "hashes", "t")
    measure_clips(name, clips, folder, hashes, tmp_path / "kept.csv", tmp_path / "out.csv", **more)
    return {row["clip"]: [float(v) for v in row["values"].split()] for row in read_csv(tmp_path / "out.csv", COLUMNS)}


def test_motion_is_measured_in_percent_of_the_width(tmp_path, textured):
    clips = [clip_of(tmp_path / "d", name, textured, speed) for name, speed in (("a", 0), ("b", 1), ("c", 4))]
    still = Clip("s", "train", "g", "a/2.png", fine="f.png")
    values = measured(tmp_path / "d", [*clips, still], "flow", tmp_path)
    assert values.keys() == {"a", "b", "c"}
    assert values["a"][0] == pytest.approx(0, abs=0.05)
    assert values["b"][0] == pytest.approx(100 / 128, rel=0.2)
    assert values["c"][0] == pytest.approx(400 / 128, rel=0.2)


def test_larger_frames_are_measured_alike(tmp_path, textured):
    large = np.array(Image.fromarray(textured).resize((2880, 960), Image.Resampling.BICUBIC))
    pairs = []
    for picture, step, width in ((textured, 2, 128), (large, 16, 1024)):
        files = [tmp_path / f"{width}_{i}.png" for i in range(2)]
        for i, file in enumerate(files):
            Image.fromarray(picture[:, 100 + step * i : 100 + step * i + width]).save(file)
        pairs.append(flow_magnitude(files)[0])
    assert pairs[0] == pytest.approx(pairs[1], rel=0.1)


def test_a_descriptor_tells_light_colour_and_texture_apart(tmp_path, textured):
    pictures = {
        "texture": textured[:64, :128],
        "again": np.clip(textured[:64, :128].astype(int) + 2, 0, 255).astype(np.uint8),
        "dark": textured[:64, :128] // 4,
        "red": np.full((64, 128, 3), (200, 30, 30), np.uint8),
        "green": np.full((64, 128, 3), (30, 120, 30), np.uint8),
    }
    vectors = {}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
        vectors[name] = np.array(descriptor([tmp_path / f"{name}.png"]))
    for vector in vectors.values():
        assert vector.shape == (224,) and (vector == vector.round()).all() and 0 <= vector.min() <= vector.max() <= 255

    def apart(a, b):
        return float(np.linalg.norm(vectors[a] - vectors[b]))

    others = [apart("texture", name) for name in ("dark", "red", "green")] + [apart("red", "green")]
    assert 10 * apart("texture", "again") < min(others)
    # No gradient in a plain picture; in an upright edge all of it is across.
    assert not vectors["red"].reshape(32, 7)[:, 3:].any()
    edge = np.zeros((64, 128, 3), np.uint8)
    edge[:, 72:] = 255
    Image.fromarray(edge).save(tmp_path / "edge.png")
    of_edge = np.array(descriptor([tmp_path / "edge.png"])).reshape(32, 7)[:, 3:]
    assert of_edge[:, 0].any() and not of_edge[:, 1:].any()


def test_only_what_changed_is_measured_again(tmp_path, textured, monkeypatch, capsys):
    folder = tmp_path / "d"
    clips = [clip_of(folder, name, textured, 1) for name in "abc"]
    first = measured(folder, clips, "flow", tmp_path)
    before = (tmp_path / "out.csv").read_bytes()
    for file in folder.rglob("*.png"):
        file.touch()
    measured(folder, clips, "flow", tmp_path)
    assert (tmp_path / "out.csv").read_bytes() == before
    assert "flow: 0 clips measured, 3 found as they were" in capsys.readouterr().err
    Image.fromarray(textured[:, 20:148]).save(folder / "b/1.png")
    again = measured(folder, clips[:2], "flow", tmp_path)
    assert "flow: 1 clips measured, 1 found as they were" in capsys.readouterr().err
    assert again["a"] == first["a"] and again["b"] != first["b"] and "c" not in again


def test_a_fault_keeps_what_was_found(tmp_path, textured, capsys):
    folder = tmp_path / "d"
    clips = [clip_of(folder, name, textured, 1) for name in "ab"]
    (folder / "b/2.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"b/2\.png is not a readable image"):
        measured(folder, clips, "diversity", tmp_path)
    Image.fromarray(textured[:, :128]).save(folder / "b/2.png")
    measured(folder, clips, "diversity", tmp_path)
    assert "diversity: 1 clips measured, 1 found as they were" in capsys.readouterr().err


def test_other_processes_find_the_same(tmp_path, textured, monkeypatch):
    folder = tmp_path / "d"
    clips = [clip_of(folder, name, textured, speed) for name, speed in (("a", 0), ("b", 3))]
    alone = measured(folder, clips, "diversity", tmp_path)
    monkeypatch.setattr(measuring, "_WORTH_PROCESSES", 1)
    (tmp_path / "kept.csv").unlink()
    assert measured(folder, clips, "diversity", tmp_path, workers=2) == alone


def test_the_command_measures_the_training_clips(tmp_path):
    write_toycity(tmp_path / "city", ToyCitySettings(train=2, val=1, train_extra=1, height=48, width=96), 1)
    settings = {
        "reader": "cityscapes",
        "root": str(tmp_path / "city"),
        "classes": "cityscapes",
        "options": {},
        "truth": "",
    }
    options = {"--settings": json.dumps(settings), "--results": str(tmp_path / "r"), "--out": str(tmp_path / "out.csv")}
    for name, values in (("flow", 1), ("diversity", 224)):
        arguments = [name, *(part for pair in options.items() for part in pair)]
        CliRunner().invoke(stages.selection, arguments, catch_exceptions=False)
        rows = read_csv(tmp_path / "out.csv", COLUMNS)
        assert [len(row["values"].split()) for row in rows] == [values] * 2
        assert (tmp_path / f"r/selection/kept/{name}.csv").is_file()
