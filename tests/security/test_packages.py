"""Annotations, lists and packages made to do harm: each is refused in a sentence, and writes nothing elsewhere."""

import io
import os
import zipfile
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.datasets.polygons import polygon_task
from fewframes.datasets.rows import inside
from fewframes.doctor.archives import _check_zip
from fewframes.doctor.report import Group
from fewframes.labelling.exporting import LISTING, read_frames
from fewframes.labelling.exporting.classes import read_classes
from fewframes.labelling.exporting.reading import Package
from fewframes.learning.official import _file_name

LABEL = np.zeros((4, 6), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        '{"objects": ' + "[" * 200_000 + "]" * 200_000 + "}",
        '{"imgHeight": 8, "imgWidth": 8, "objects": [{"label": "road", "polygon": [[NaN, 1], [2, 2], [3, 1]]}]}',
        '{"imgHeight": 8, "imgWidth": 8, "objects": [{"label": "road", "polygon": [[1e400, 1], [2, 2], [3, 1]]}]}',
        '{"imgHeight": 8, "imgWidth": 8, "objects": [{"label": "road", "polygon": [[' + "9" * 30 + ", 1], [2, 2]]}]}",
        '{"imgHeight": ' + "9" * 5000 + ', "imgWidth": 8, "objects": []}',
        '{"imgHeight": 100000, "imgWidth": 100000, "objects": []}',
    ],
    ids=["deep", "no number", "infinite", "far", "long number", "huge"],
)
def test_polygons_that_would_break_or_fill_the_machine_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    task = polygon_task("a.json", "label.png", "instances.png", "cityscapes", load_class_table("cityscapes"))
    with pytest.raises(UserError, match=r"a\.json"):
        task.make(task, tmp_path, tmp_path)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b", "prepared:../x", "a\rb"])
def test_a_table_names_files_of_its_own_folder(path):
    with pytest.raises(UserError):
        inside(path)


def test_a_clip_is_called_by_what_no_shell_reads():
    for name in ("$(touch pwned)", "a;b", "../a", "-a", "a b", "a\nb", "{a}", "a'b", ".a", "", "é"):
        with pytest.raises(UserError, match="must be letters, digits"):
            Clip(id=name, split="train", group="", image="a.png")


def test_an_export_names_no_clip_elsewhere(tmp_path):
    header = "name,clip,offset,kind,method,fingerprint,checksum,image,image_hash,height,width,split\n"
    (tmp_path / LISTING).write_text(header + "a,../../../tmp/x,1,pseudo,flow,f,c,a.png,h,4,6,train\n")
    with pytest.raises(UserError, match="the row of 'a' is damaged"):
        read_frames(tmp_path)


@pytest.mark.parametrize("row", ["a,1,1,256,0,0", "a,1,1,-1,0,0", "a,-2,1,0,0,0", "a,1,999,0,0,0"])
def test_classes_beyond_a_byte_are_refused(tmp_path, row):
    (tmp_path / "classes.csv").write_text(f"name,id,train_id,red,green,blue\n{row}\n")
    with pytest.raises(UserError, match="beyond 255"):
        read_classes(tmp_path / "classes.csv")


def packed(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def picture(pixels=LABEL):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def test_a_package_is_never_unpacked_by_its_names(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = packed(inner / "p.zip", {"../../a_labelIds.png": picture(), "/tmp/b_labelIds.png": picture()})
    before = set(tmp_path.rglob("*"))
    with Package(path, load_class_table("cityscapes")) as package:
        for name in package.names:
            package.labels(name, LABEL.shape)
    assert set(tmp_path.rglob("*")) == before


def test_a_package_of_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fewframes.labelling.exporting.reading._LARGEST", 1 << 16)
    path = packed(tmp_path / "p.zip", {"a_labelIds.png": bytes(1 << 20)})
    with Package(path, load_class_table("cityscapes")) as package, pytest.raises(UserError, match="unpacks to 1048576"):
        package.labels("a", LABEL.shape)
    lying = bytearray(path.read_bytes())
    small = (100).to_bytes(4, "little")
    for size in (i for i in range(len(lying)) if lying[i : i + 4] == (1 << 20).to_bytes(4, "little")):
        lying[size : size + 4] = small
    path.write_bytes(lying)
    with Package(path, load_class_table("cityscapes")) as package, pytest.raises(UserError, match=r"p\.zip/a_labelIds"):
        package.labels("a", LABEL.shape)


@pytest.mark.parametrize("colour", ["999999999999,0,0", "-1,0,0", "256,0,0", "9" * 5000 + ",0,0"])
def test_a_label_map_of_impossible_colours_is_refused(tmp_path, colour):
    members = {"labelmap.txt": f"road:{colour}::\n", "SegmentationClass/a.png": picture()}
    with pytest.raises(UserError, match="is not name:r,g,b:parts:actions"):
        Package(packed(tmp_path / "p.zip", members), load_class_table("cityscapes"))


def test_an_archive_beside_the_files_is_only_listed(tmp_path):
    group = Group("Archives")
    path = packed(tmp_path / "a.zip", {"../../../etc/passwd": "x", "/root/.ssh/id": "x"})
    _check_zip(path, "a.zip", {"": ["a.zip"]}, group)
    assert group.findings == [] and os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("form", ["native", "idd", "cityscapes"])
def test_predictions_stay_in_their_folder(form):
    for image in ("a/../x_leftImg8bit.png", "/a/b_000000_000019_leftImg8bit.png", "../b_000000_000019_leftImg8bit.png"):
        assert _file_name(form, PurePosixPath(image)) == ""
