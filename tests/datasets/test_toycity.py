"""Toy city's files: layout, agreement of labels and polygons, determinism, and what the settings change."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fewframes.core.errors import UserError
from fewframes.core.images import read_image, read_instances, read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.datasets.toycity.coarse import coarse_objects
from fewframes.datasets.toycity.layouts import clip_names
from fewframes.datasets.toycity.scene import build_scene

TABLE = load_class_table("cityscapes")
CLASSES = {c.name: c for c in TABLE.classes}
THINGS = frozenset(name for name, c in CLASSES.items() if c.has_instances)
SMALL = ToyCitySettings(train=4, val=1, train_extra=2, height=48, width=96)
IDD = dataclasses.replace(SMALL, train=2, layout="idd")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "city"
    write_toycity(root, SMALL)
    return root


@pytest.fixture(scope="module")
def idd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "idd"
    write_toycity(root, IDD)
    return root


def files(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def truth_of(root: Path) -> Path:
    return root.with_name(root.name + "-truth")


def test_cityscapes_has_every_file_in_its_place(city: Path) -> None:
    def count(pattern: str) -> int:
        return len(list(city.glob(pattern)))

    for split, clips in (("train", 4), ("val", 1), ("train_extra", 2)):
        fine = clips if split != "train_extra" else 0
        assert count(f"leftImg8bit/{split}/*/*_leftImg8bit.png") == clips
        assert count(f"leftImg8bit_sequence/{split}/*/*_leftImg8bit.png") == 30 * fine
        for kind in ("labelIds.png", "instanceIds.png", "polygons.json"):
            assert count(f"gtFine/{split}/*/*_gtFine_{kind}") == fine
            assert count(f"gtCoarse/{split}/*/*_gtCoarse_{kind}") == clips
        assert len(list(truth_of(city).glob(f"{split}/*/*_labelIds.png"))) == (30 * fine or clips)
    for image in city.glob("leftImg8bit/*/*/*.png"):
        name, seq, frame, _ = image.stem.rsplit("_", 3)
        assert name == image.parent.name and len(seq) == len(frame) == 6


def test_key_frame_is_the_20th_and_the_same_everywhere(city: Path) -> None:
    for image in city.glob("leftImg8bit/[tv]*/*/*.png"):
        split, name = image.parts[-3], image.stem.rsplit("_", 3)
        if split == "train_extra":
            continue
        key = int(name[2])
        sequence = city / "leftImg8bit_sequence" / split / name[0]
        clip = [sequence / f"{name[0]}_{name[1]}_{key + o:06d}_leftImg8bit.png" for o in range(-19, 11)]
        assert all(p.is_file() for p in clip)
        assert clip[19].read_bytes() == image.read_bytes()
        stem = "_".join(name[:3])
        fine = read_label(city / f"gtFine/{split}/{name[0]}/{stem}_gtFine_labelIds.png")
        assert np.array_equal(fine, read_label(truth_of(city) / f"{split}/{name[0]}/{stem}_labelIds.png"))
        assert read_image(image).shape == (48, 96, 3)


@pytest.mark.parametrize("split", ["train", "val"])
def test_long_sequences_hold_many_clips_that_never_overlap(split: str) -> None:
    named = clip_names("cityscapes", split, 24, 0)
    keys: dict[str, list[int]] = {}
    for city, name, key in named:
        assert name.startswith(city)
        keys.setdefault(name, []).append(key)
    shared = [k for k in keys.values() if len(k) > 1]
    assert shared and len(named) == 24
    for k in shared:
        assert 19 not in k and min(np.diff(k)) == 31
    assert sum(k == [19] for k in keys.values()) >= 12


@pytest.mark.parametrize("kind", ["gtFine", "gtCoarse"])
def test_polygons_in_list_order_give_labels_and_instances(city: Path, kind: str) -> None:
    annotations = list(city.glob(f"{kind}/*/*/*_polygons.json"))
    assert annotations
    for path in annotations:
        stem = str(path).removesuffix("_polygons.json")
        document = json.loads(path.read_text())
        size = document["imgWidth"], document["imgHeight"]
        labels, instances = Image.new("L", size), Image.new("I;16", size)
        counts: dict[str, int] = {}
        for item in document["objects"]:
            name = item["label"]
            known = CLASSES[name if name in CLASSES else name.removesuffix("group")]
            value = known.id
            if name in THINGS:
                value = known.id * 1000 + counts.get(name, 0)
                counts[name] = counts.get(name, 0) + 1
            polygon = [tuple(point) for point in item["polygon"]]
            ImageDraw.Draw(labels).polygon(polygon, fill=known.id)
            ImageDraw.Draw(instances).polygon(polygon, fill=value)
        written = read_instances(f"{stem}_instanceIds.png")
        assert np.array_equal(np.asarray(labels), read_label(f"{stem}_labelIds.png"))
        assert np.array_equal(np.asarray(instances), written)
        assert np.array_equal(np.where(written >= 1000, written // 1000, written), np.asarray(labels))
        with Image.open(f"{stem}_instanceIds.png") as image:
            assert image.mode == "I;16"


@pytest.mark.parametrize("settings", [SMALL, IDD], ids=lambda s: s.layout)
def test_equal_settings_give_equal_bytes_whatever_the_workers(
    settings: ToyCitySettings, city: Path, idd: Path, tmp_path: Path
) -> None:
    first = city if settings.layout == "cityscapes" else idd
    write_toycity(tmp_path / "again", settings, workers=2)
    assert files(tmp_path / "again") == files(first)
    assert files(tmp_path / "again-truth") == files(truth_of(first))


def test_another_seed_is_another_city(city: Path, tmp_path: Path) -> None:
    write_toycity(tmp_path / "other", dataclasses.replace(SMALL, seed=1, train=1, val=0, train_extra=0))
    [image] = (tmp_path / "other").glob("leftImg8bit/train/*/*.png")
    assert image.read_bytes() != (city / image.relative_to(tmp_path / "other")).read_bytes()


@pytest.mark.parametrize(("split", "clips"), [(0, 24), (1, 8)], ids=["train", "val"])
@pytest.mark.parametrize("variety", [0.0, 1.0])
def test_all_19_classes_are_in_the_key_frames(split: int, clips: int, variety: float) -> None:
    pixels = np.zeros(256, int)
    for number in range(clips):
        frame = build_scene(0, split, number, variety, 64, 128).frame(0)
        lut = np.array([0, *(CLASSES[label].id for label, _ in frame.objects)], np.uint8)
        pixels += np.bincount(TABLE.to_train_ids(lut[frame.owner], "toy city").ravel(), minlength=256)
    # Cityscapes itself has a thousandth of its rarest class, motorcycle.
    share = dict(zip(TABLE.names, pixels[:19] / pixels[:19].sum(), strict=True))
    assert min(share.values()) > 0.0005, share


def test_clips_move_and_things_enter() -> None:
    scene = build_scene(0, 0, 0, 1.0, 64, 128)
    frames = [scene.frame(t) for t in (-2, -1, 0)]
    steps = [np.abs(a.image.astype(int) - b.image).mean() for a, b in pairwise(frames)]
    assert min(steps) > 3
    counts = [sum(label in THINGS for label, _ in scene.frame(t).objects) for t in (-19, -10, 0, 10)]
    assert len(set(counts)) > 1


def test_coarse_polygons_stay_inside_their_objects() -> None:
    for height in (64, 128, 256):
        coverage = []
        for number in range(6):
            frame = build_scene(3, 0, number, 1.0, height, 2 * height).frame(0)
            ids = np.array([0, *(CLASSES[label].id for label, _ in frame.objects)], np.uint8)[frame.owner]
            drawn = Image.new("L", (2 * height, height))
            for label, polygon in coarse_objects(frame, THINGS, np.random.default_rng(number)):
                ImageDraw.Draw(drawn).polygon(polygon, fill=CLASSES[label.removesuffix("group")].id)
            coarse = np.asarray(drawn)
            assert (coarse == ids)[coarse > 0].mean() > 0.99
            coverage.append((coarse > 0).mean())
        assert 0.5 < np.mean(coverage) < 0.76


def test_coarse_annotation_leaves_out_small_things_and_merges_neighbours(city: Path) -> None:
    fine, coarse = (
        [item for p in city.glob(f"{kind}/[tv]*/*/*.json") for item in json.loads(p.read_text())["objects"]]
        for kind in ("gtFine", "gtCoarse")
    )
    assert len(coarse) < len(fine) / 2
    assert np.mean([len(o["polygon"]) for o in coarse]) < 12
    groups = set()
    for number in range(8):
        frame = build_scene(0, 0, number, 1.0, 128, 256).frame(0)
        drawn = coarse_objects(frame, THINGS, np.random.default_rng(number))
        groups |= {label for label, _ in drawn if label.endswith("group")}
    assert groups


def test_variety_sets_how_much_clips_differ() -> None:
    def spread(variety: float) -> float:
        small = [build_scene(0, 0, n, variety, 64, 128).frame(0).image for n in range(8)]
        coarse = [np.asarray(Image.fromarray(i).resize((16, 8), Image.Resampling.BOX), float) for i in small]
        return float(np.std(coarse, axis=0).mean())

    alike, between, different = spread(0.0), spread(0.5), spread(1.0)
    assert alike < between < different
    assert alike < 0.75 * different


def test_idd_layout(idd: Path) -> None:
    images = sorted(idd.glob("leftImg8bit/*/*/*"))
    assert {p.suffix for p in images} == {".png", ".jpg"}
    assert len(images) == 3 and not list(idd.glob("gtCoarse")) and not list(idd.rglob("*train_extra*"))
    named = set()
    for image in images:
        split, drive = image.parts[-3:-1]
        name = image.stem.removesuffix("_leftImg8bit")
        assert drive == str(int(drive))
        document = json.loads((idd / f"gtFine/{split}/{drive}/{name}_gtFine_polygons.json").read_text())
        named |= {o["label"] for o in document["objects"]}
        assert (document["imgHeight"], document["imgWidth"]) == (48, 96)
        frames = sorted((idd / f"idd_temporal_{split}_1/{int(drive):05d}/{name}_leftImg8bit").glob("*.jpeg"))
        assert len(frames) == 31 and all(len(f.stem) == 7 for f in frames)
        nearest = min(range(31), key=lambda i: np.abs(read_image(frames[i]).astype(int) - read_image(image)).mean())
        assert nearest == 15
        for frame in frames:
            assert (truth_of(idd) / f"{split}/{drive}/{name}_{frame.stem}_labelIds.png").is_file()
    assert {p.suffix for p in idd.glob("gtFine/*/*/*")} == {".json"}
    assert "non-drivable fallback" in named and "terrain" not in named


def test_rickshaws_drive_in_idd_only() -> None:
    def labels(rickshaws: bool) -> set[str]:
        scenes = (build_scene(0, 0, n, 1.0, 64, 128, rickshaws) for n in range(8))
        return {label for scene in scenes for label, _ in scene.frame(0).objects}

    assert "autorickshaw" in labels(True) and "autorickshaw" not in labels(False)


def test_replaces_its_own_folder_and_no_other(tmp_path: Path) -> None:
    tiny = ToyCitySettings(train=0, val=0, train_extra=1, height=48, width=96)
    root = tmp_path / "deep" / "city"
    write_toycity(root, tiny)
    write_toycity(root, dataclasses.replace(tiny, seed=5))
    assert json.loads((root / "toycity.json").read_text())["settings"]["seed"] == 5
    assert sorted(p.name for p in root.parent.iterdir()) == ["city", "city-truth"]

    mine = tmp_path / "mine"
    mine.mkdir()
    write_toycity(mine, tiny)  # an empty folder is free
    for folder in (tmp_path / "foreign", tmp_path / "half-truth"):
        folder.mkdir()
        (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="foreign"):
        write_toycity(tmp_path / "foreign", tiny)
    with pytest.raises(UserError, match="half-truth"):
        write_toycity(tmp_path / "half", tiny)
    assert (tmp_path / "foreign/thesis.tex").is_file() and (tmp_path / "half-truth/thesis.tex").is_file()


def test_leftovers_of_a_killed_run_are_cleared(tmp_path: Path) -> None:
    tiny = ToyCitySettings(train=0, val=0, train_extra=1, height=48, width=96)
    for name in ("city.partial", "city-truth.partial", "city.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half.png").write_bytes(b"half")
    write_toycity(tmp_path / "city", tiny)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["city", "city-truth"]
    assert not list(tmp_path.rglob("half.png"))


def test_unwritable_parent_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        write_toycity(tmp_path / "file" / "city", SMALL)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train", -1), ("val", -1), ("train_extra", -2), ("height", 16), ("width", 20),
        ("variety", 1.5), ("seed", -1), ("layout", "kitti"),
    ],
)  # fmt: skip
def test_bad_settings_name_their_key(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(UserError, match=key):
        write_toycity(tmp_path / "city", dataclasses.replace(SMALL, **{key: value}))
    assert not list(tmp_path.iterdir())


def test_any_size(tmp_path: Path) -> None:
    settings = ToyCitySettings(train=0, val=0, train_extra=2, height=75, width=133, layout="cityscapes")
    write_toycity(tmp_path / "odd", settings)
    sizes = {Image.open(p).size for p in (tmp_path / "odd").rglob("*.png")}
    assert sizes == {(133, 75)}


def test_a_city_whose_signature_snakemake_deleted_is_replaced(tmp_path):
    tiny = ToyCitySettings(train=1, val=1, train_extra=0, height=48, width=96)
    write_toycity(tmp_path / "city", tiny)
    (tmp_path / "city/toycity.json").unlink()
    write_toycity(tmp_path / "city", dataclasses.replace(tiny, seed=1))
    assert json.loads((tmp_path / "city/toycity.json").read_text())["settings"]["seed"] == 1
