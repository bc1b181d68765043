"""IDD: drawn labels, key frames and reach, parts side by side, and everything that is left out by name."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.images import read_image, read_instances, read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets import index, prepare_dataset
from fewframes.datasets.preparing import Ledger
from fewframes.datasets.source import Source
from fewframes.datasets.toycity import ToyCitySettings, write_toycity

CLASSES = load_class_table("idd")
TOY = ToyCitySettings(train=4, val=2, height=64, width=128, layout="idd")
IDS = {"0_001015", "203_frame1065", "24_001094", "403_0001128", "66_001027", "215_frame1053"}


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy") / "idd"
    write_toycity(root, TOY)
    return root


@pytest.fixture(scope="module")
def toy(city, tmp_path_factory):
    """The toy city as it is, prepared and indexed."""
    return read(city, tmp_path_factory.mktemp("toy-results"))


@pytest.fixture
def root(city, tmp_path):
    """A copy of the toy city to change."""
    return shutil.copytree(city, tmp_path / "idd")


def read(root, results, **options):
    """The source after preparation and indexing, and its clips by id."""
    source = Source(root, results / "prepared", load_class_table("idd"), options)
    prepare_dataset("idd", source, ContentHashes(results / "hashes", "test"))
    return source, {clip.id: clip for clip in index("idd", source)}


def left_out(source):
    """Names by reason."""
    found = {}
    for reason, name in source.left_out.rows:
        found.setdefault(reason, []).append(name)
    return found


def sequence_of(root, clip):
    return root / clip.frames.rpartition("/")[0]


def comparable(clip):
    """What is the same wherever the files lie."""
    return dataclasses.replace(clip, image=Path(clip.image).name, frames=Path(clip.frames).name)


def test_every_annotated_image_is_a_clip_with_its_frames(city, toy):
    source, clips = toy
    assert clips.keys() == IDS and not source.left_out.rows
    assert {clip.split for clip in clips.values()} == {"train", "val"}
    assert {Path(clip.image).suffix for clip in clips.values()} == {".png", ".jpg"}
    ledger = Ledger(source.prepared)
    for clip in clips.values():
        drive, name = clip.id.split("_")
        assert clip.group == drive and clip.frames.startswith(f"idd_temporal_{clip.split}_1/{int(drive):05d}/{name}_")
        assert (clip.first, clip.last, clip.step, clip.coarse) == (-15, 15, 1, "")
        assert all((city / clip.image_at(offset)).is_file() for offset in range(-15, 16))
        still = read_image(city / clip.image).astype(int)
        frames = [read_image(city / clip.frames.format(frame=clip.key + o)) for o in (-1, 0, 1)]
        assert np.argmin([np.abs(still - frame).mean() for frame in frames]) == 1
        facts = ledger.facts(f"keys/{clip.split}/{drive}/{name}")
        assert (facts["how"], facts["position"], facts["key"]) == ("position", 15, clip.key)


def test_labels_are_the_truth_of_the_key_frame(city, toy):
    source, clips = toy
    truth = city.with_name("idd-truth")
    things = {c.id for c in CLASSES.classes if c.has_instances}
    for clip in clips.values():
        label = read_label(source.root / clip.fine)
        assert np.array_equal(label, read_label(truth / clip.truth_at(0)))
        assert (truth / clip.truth_at(-15)).is_file() and (truth / clip.truth_at(15)).is_file()
        instances = read_instances(source.root / clip.fine_instances)
        assert np.array_equal(np.where(instances >= 1000, instances // 1000, instances), label)
        assert {value // 1000 for value in np.unique(instances) if value >= 1000} <= things


def test_the_19_classes_need_no_other_labels(city, toy):
    source, clips = toy
    other = Source(city, source.prepared, load_class_table("idd-cityscapes"))
    before = {task: Ledger(source.prepared).fingerprint(task) for task in task_names(source)}
    prepare_dataset("idd", other, ContentHashes(source.prepared / "hashes", "test"))
    assert {task: Ledger(source.prepared).fingerprint(task) for task in task_names(source)} == before
    assert index("idd", other) == sorted(clips.values(), key=lambda clip: clip.id)


def task_names(source):
    with open(source.prepared / "prepared.csv", encoding="utf-8") as file:
        return [line.split(",")[0] for line in file][1:]


def split_parts(root, wrapper=""):
    """Move PNG drives and their annotations to Part I's folder and JPEG's to Part II's, the sequences as shipped."""
    for drive in root.glob("leftImg8bit/*/*"):
        part = "IDD_Segmentation" if list(drive.glob("*.png")) else "idd20kII"
        for kind in ("leftImg8bit", "gtFine"):
            target = root / part / kind / drive.parts[-2]
            target.mkdir(parents=True, exist_ok=True)
            (root / kind / drive.parts[-2] / drive.name).rename(target / drive.name)
    for kind in ("leftImg8bit", "gtFine"):
        shutil.rmtree(root / kind)
    (root / wrapper).mkdir(exist_ok=True)
    second = root / wrapper / "idd_temporal_train4"
    second.mkdir()
    (root / "idd_temporal_train_1/00024").rename(second / "00024")
    (root / "idd_temporal_train_1").rename(root / wrapper / "idd_temporal_train_1")
    (root / "idd_temporal_val_1").rename(root / wrapper / "iddtemporal_val_1")


@pytest.mark.parametrize("wrapper", ["", "idd_temporal", "downloads"])
def test_parts_apart_give_the_clips_of_parts_merged(root, tmp_path, toy, wrapper):
    split_parts(root, wrapper)
    source, clips = read(root, tmp_path)
    assert not source.left_out.rows
    assert {id: comparable(clip) for id, clip in clips.items()} == {id: comparable(c) for id, c in toy[1].items()}
    assert clips["24_001094"].image.startswith("IDD_Segmentation/")
    assert all((root / clip.image_at(o)).is_file() for clip in clips.values() for o in (-15, 0, 15))


def test_what_is_there_twice_is_used_once_and_named(root, tmp_path):
    for kind in ("leftImg8bit", "gtFine"):
        shutil.copytree(root / f"{kind}/train/24", root / f"second/{kind}/train/24")
        shutil.copytree(root / f"{kind}/train/0", root / f"second/{kind}/val/0")
    shutil.copytree(root / "idd_temporal_train_1/00024", root / "second/idd_temporal_train_1/00024")
    source, clips = read(root, tmp_path)
    assert clips.keys() == IDS and clips["24_001094"].image.startswith("leftImg8bit/")
    assert clips["0_001015"].split == "train"
    assert left_out(source) == {
        "there twice, the first is used": [
            "second/gtFine/train/24/001094_gtFine_polygons.json",
            "second/idd_temporal_train_1/00024/001094_leftImg8bit",
            "second/leftImg8bit/train/24/001094_leftImg8bit.png",
        ],
        "annotated in two splits, the first is used": ["second/gtFine/val/0/001015_gtFine_polygons.json"],
    }


def test_partial_downloads_are_used_as_far_as_they_go(root, tmp_path):
    (root / "leftImg8bit/train/0/001015_leftImg8bit.png").unlink()
    shutil.rmtree(root / "gtFine/train/24")
    shutil.rmtree(root / "idd_temporal_val_1/00215")
    shutil.rmtree(root / "idd_temporal_train_1/00203/frame1065_leftImg8bit")
    (root / "idd_temporal_train_1/00203/frame1065_leftImg8bit").mkdir()
    (root / "idd_temporal_train_1/00403/0001128_leftImg8bit/Thumbs.db").write_text("")
    test = root / "idd_temporal_test_1/00500/000001_leftImg8bit"
    test.mkdir(parents=True)
    shutil.copytree(root / "leftImg8bit/val/66", root / "leftImg8bit/test/500")
    (root / "leftImg8bit/val/66/._001027_leftImg8bit.png").write_text("as macOS leaves them")
    source, clips = read(root, tmp_path)
    assert clips.keys() == IDS - {"0_001015", "24_001094"}
    assert left_out(source) == {
        "annotation without image": ["gtFine/train/0/001015_gtFine_polygons.json"],
        "image without annotation": ["leftImg8bit/train/24/001094_leftImg8bit.png"],
        "sequence without annotation": [
            "idd_temporal_train_1/00000/001015_leftImg8bit",
            "idd_temporal_train_1/00024/001094_leftImg8bit",
        ],
        "sequence without frames": ["idd_temporal_train_1/00203/frame1065_leftImg8bit"],
        "no frame with a number of its own": ["idd_temporal_train_1/00403/0001128_leftImg8bit/Thumbs.db"],
    }
    for alone in ("215_frame1053", "203_frame1065"):
        assert (clips[alone].frames, clips[alone].first, clips[alone].last) == ("", 0, 0)


def test_a_clip_reaches_as_far_as_its_frames_follow_each_other(root, tmp_path, toy):
    clip = toy[1]["66_001027"]
    for offset in (-4, 6, 7):
        (root / clip.image_at(offset)).unlink()
    # The same number of digits is not the same name: the pattern must lead to the file.
    odd = toy[1]["215_frame1053"]
    (root / odd.image_at(3)).rename(sequence_of(root, odd) / f"{odd.key + 3}.jpeg")
    source, clips = read(root, tmp_path)
    assert (clips[clip.id].first, clips[clip.id].last, clips[clip.id].key) == (-3, 5, clip.key)
    assert (clips[odd.id].first, clips[odd.id].last) == (-15, 2)
    assert left_out(source) == {
        "frames beyond a gap in the sequence, where the clip is cut": [
            "idd_temporal_val_1/00066/001027_leftImg8bit",
            "idd_temporal_val_1/00215/frame1053_leftImg8bit",
        ]
    }


@pytest.mark.parametrize(("first", "digits"), [(985, 4), (985, 1), (9985, 4), (9985, 5), (0, 7)])
def test_numbers_may_gain_a_digit_within_a_sequence(root, tmp_path, toy, first, digits):
    clip = toy[1]["66_001027"]
    folder = sequence_of(root, clip)
    listed = sorted(folder.iterdir())
    for place, path in enumerate(listed):
        path.rename(folder / f"new{first + place:0{digits}d}.jpeg")
    for path in folder.iterdir():
        path.rename(folder / path.name.removeprefix("new"))
    source, clips = read(root, tmp_path)
    found = clips[clip.id]
    assert (found.key, found.first, found.last) == (first + 15, -15, 15) and not source.left_out.rows
    assert [found.frames.format(frame=found.key + o) for o in range(-15, 16)] == [
        f"idd_temporal_val_1/00066/001027_leftImg8bit/{first + place:0{digits}d}.jpeg" for place in range(31)
    ]


def test_misnamed_annotations_and_images_are_named_and_what_scripts_make_is_not(root, tmp_path):
    gt, images = root / "gtFine/val/66", root / "leftImg8bit/val/66"
    for name in ("labelids", "labellevel3Ids", "instancelevel3Ids", "labelColors"):
        (gt / f"001027_gtFine_{name}.png").touch()
    (gt / "000001_gtFine_polygon.json").touch()
    (images / "000001.png").touch()
    source, clips = read(root, tmp_path)
    assert clips.keys() == IDS
    assert left_out(source) == {
        "not named _gtFine_polygons.json": ["gtFine/val/66/000001_gtFine_polygon.json"],
        "not named _leftImg8bit.png or _leftImg8bit.jpg or _leftImg8bit.jpeg": ["leftImg8bit/val/66/000001.png"],
    }


def test_a_shifted_sequence_is_found_by_its_pixels(root, tmp_path, toy):
    clip = toy[1]["24_001094"]
    for offset in (-15, -14, -13):
        (root / clip.image_at(offset)).unlink()
    source, clips = read(root, tmp_path)
    assert (clips[clip.id].key, clips[clip.id].first, clips[clip.id].last) == (clip.key, -12, 15)
    facts = Ledger(source.prepared).facts("keys/train/24/001094")
    assert (facts["how"], facts["position"]) == ("search", 12) and not source.left_out.rows


def test_a_foreign_sequence_and_one_without_its_key_frame_are_named_and_not_used(root, tmp_path, toy):
    foreign, cut = toy[1]["24_001094"], toy[1]["66_001027"]
    shutil.rmtree(sequence_of(root, foreign))
    shutil.copytree(sequence_of(root, cut), sequence_of(root, foreign))
    (root / cut.frames.format(frame=cut.key)).unlink()
    source, clips = read(root, tmp_path)
    for clip in (foreign, cut):
        assert clips[clip.id] == dataclasses.replace(clip, frames="", key=0, first=0, last=0, truth="")
    assert left_out(source) == {
        "sequence without the annotated image": [
            "idd_temporal_train_1/00024/001094_leftImg8bit",
            "idd_temporal_val_1/00066/001027_leftImg8bit",
        ]
    }


def test_frames_of_another_size_are_refused_with_both_sizes(root, tmp_path, toy):
    clip = toy[1]["66_001027"]
    for frame in sequence_of(root, clip).iterdir():
        Image.open(frame).resize((64, 32)).save(frame)
    source, clips = read(root, tmp_path)
    assert (clips[clip.id].frames, clips[clip.id].first) == ("", 0)
    assert left_out(source) == {
        "sequence of another size than the annotated image": [
            "idd_temporal_val_1/00066/001027_leftImg8bit: 64x32, its image 128x64"
        ]
    }


def test_unknown_labels_and_dropped_polygons_are_counted_and_named(root, tmp_path):
    path = "gtFine/val/66/001027_gtFine_polygons.json"
    document = json.loads((root / path).read_text())
    triangle = [[0, 0], [9, 0], [0, 9]]
    document["objects"] += [
        {"label": "cow", "polygon": triangle},
        {"label": "cow", "polygon": triangle},
        {"label": "car", "polygon": triangle, "deleted": 1},
        {"label": "car", "polygon": [[1, 1]]},
    ]
    (root / path).write_text(json.dumps(document))
    source, clips = read(root, tmp_path)
    assert clips.keys() == IDS
    found = left_out(source)
    assert found.pop("polygon: unknown label 'cow'") == [path, path]
    assert len(found) == 2 and all(names == [path] for names in found.values())
    assert any(line.startswith("2 left out: polygon: unknown label 'cow'") for line in source.left_out.lines())


def test_the_size_option_keeps_images_annotated_at_that_size(root, tmp_path):
    size = (96, 48)
    image = root / "leftImg8bit/train/0/001015_leftImg8bit.png"
    Image.open(image).resize(size).save(image)
    annotation = root / "gtFine/train/0/001015_gtFine_polygons.json"
    document = json.loads(annotation.read_text())
    annotation.write_text(json.dumps(document | {"imgWidth": size[0], "imgHeight": size[1]}))
    for frame in (root / "idd_temporal_train_1/00000/001015_leftImg8bit").iterdir():
        Image.open(frame).resize(size).save(frame)
    source, clips = read(root, tmp_path, size=[64, 128])
    assert clips.keys() == IDS - {"0_001015"}
    assert left_out(source) == {
        "annotated at another size than 128x64 (dataset.options.size)": ["leftImg8bit/train/0/001015_leftImg8bit.png"]
    }
    assert read(root, tmp_path, size=[48, 96])[1].keys() == {"0_001015"}
    assert read(root, tmp_path)[1].keys() == IDS
    for wrong in ([1080], "1080x1920", [0, 5], [64.0, 128.0], [True, True]):
        with pytest.raises(UserError, match=r"dataset\.options\.size .*\[1080, 1920\]"):
            read(root, tmp_path, size=wrong)


def test_odd_names_give_clip_ids_without_collisions(root, tmp_path):
    names = ['it\'s {a} "test"', 'it\'s (a) "test"', "çà-va", "line\nbreak", "-dash"]
    drive = "24"
    old = "001094"
    for name in names:
        for before, after in (
            (f"leftImg8bit/train/{drive}/{old}_leftImg8bit.png", f"leftImg8bit/train/{drive}/{name}_leftImg8bit.png"),
            (f"gtFine/train/{drive}/{old}_gtFine_polygons.json", f"gtFine/train/{drive}/{name}_gtFine_polygons.json"),
        ):
            shutil.copy(root / before, root / after)
        sequence = f"idd_temporal_train_1/000{drive}"
        shutil.copytree(root / sequence / f"{old}_leftImg8bit", root / sequence / f"{name}_leftImg8bit")
    latin = os.fsencode(root / "leftImg8bit/train/24") + b"/caf\xe9_leftImg8bit.png"
    shutil.copy(root / f"leftImg8bit/train/{drive}/{old}_leftImg8bit.png", latin)
    source, clips = read(root, tmp_path)
    added = [clips[id] for id in clips.keys() - IDS]
    assert len(added) == len(names) and "24_-dash" in clips
    for clip in added:
        assert clip.id.startswith("24_") and clip.first == -15
        assert (root / clip.image_at(-15)).is_file() and (source.root / clip.fine).is_file()
        assert Path(clip.image).name.removesuffix("_leftImg8bit.png") in names
        assert clip.truth_at(0).startswith("train/24/") and "frame" not in clip.truth_at(0)
    assert [name.endswith("caf\\xe9_leftImg8bit.png") for name in left_out(source)["name that is not UTF-8"]] == [True]


def test_faults_are_named(root, tmp_path, toy):
    clip = toy[1]["66_001027"]
    frame = root / clip.frames.format(frame=clip.key)
    whole = frame.read_bytes()
    frame.write_bytes(b"")
    with pytest.raises(UserError, match=rf"{frame.name} is not a readable image \(it is empty\)"):
        read(root, tmp_path)
    frame.write_bytes(whole)
    source, _ = read(root, tmp_path)
    frame.unlink()
    with pytest.raises(UserError, match="001027_leftImg8bit has changed since it was prepared"):
        index("idd", source)
    with pytest.raises(UserError, match="is not prepared"):
        index("idd", Source(root, tmp_path / "elsewhere", CLASSES))
    loop = root / "idd_temporal_val_1/00066/loop"
    loop.symlink_to(loop)
    frame.write_bytes(whole)
    assert read(root, tmp_path)[1].keys() == IDS


def test_a_copy_without_its_times_gives_the_same_clips(root, tmp_path, toy):
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))
    read(root, tmp_path)
    before = (tmp_path / "prepared/labels/val/66/001027_labelIds.png").stat().st_mtime_ns
    for path in root.rglob("*"):
        os.utime(path, (1.1e9, 1.1e9))
    assert read(root, tmp_path)[1] == toy[1]
    assert (tmp_path / "prepared/labels/val/66/001027_labelIds.png").stat().st_mtime_ns == before
