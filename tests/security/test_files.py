"""Files from elsewhere that are made to do harm: each is refused in a sentence, and nothing of it is carried out."""

import io
import json
import os
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import cv2
import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image
from torch import nn

from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.core.images import read_image, read_label
from fewframes.core.labelfile import (
    Layer,
    read_fingerprints,
    read_label_layer,
    read_layer,
    read_provenance,
    write_label_file,
)
from fewframes.core.labels import load_class_table
from fewframes.core.videos import open_video
from fewframes.datasets.polygons import polygon_task
from fewframes.datasets.rows import inside
from fewframes.doctor import examine
from fewframes.doctor.archives import _check_zip
from fewframes.doctor.report import Group
from fewframes.labelling.exporting import LISTING, read_frames
from fewframes.labelling.exporting.classes import read_classes
from fewframes.labelling.exporting.reading import Package
from fewframes.labelling.models.loading import load_weights
from fewframes.labelling.models.sam2 import model_config
from fewframes.learning.checkpoints import CheckpointFile
from fewframes.learning.modelfile import load_model, save_model
from fewframes.learning.networks import build_network
from fewframes.learning.networks.state import read_state
from fewframes.learning.official import _file_name

REPOSITORY = Path(__file__).parents[2]
CLASSES = load_class_table("camvid")
LABEL = np.zeros((4, 6), np.uint8)


class Harm:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


@pytest.fixture
def pwned(tmp_path):
    path = tmp_path / "pwned"
    yield path
    assert not path.exists(), "it was carried out"


# --- weights, checkpoints, models ---------------------------------------------------------------------


def test_weights_are_never_unpickled(tmp_path, pwned, capsys):
    path = tmp_path / "last.pt"
    torch.save({"weight": Harm(pwned), "model": Harm(pwned), "fingerprint": "f"}, path)
    with pytest.raises(UserError, match="holds more than tensors"):
        load_weights(nn.Linear(1, 1), path, "test", within="model")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        read_state(path)
    assert CheckpointFile(tmp_path, "f").load() is None
    assert "is damaged" in capsys.readouterr().err


def test_the_tests_own_harm_is_harmful(tmp_path):
    torch.save(Harm(tmp_path / "done"), tmp_path / "harm.pt")
    torch.load(tmp_path / "harm.pt", weights_only=False)
    assert (tmp_path / "done").is_dir()


NETWORK = {
    "name": "tmanet",
    "backbone": "mobilenetv3_small_050",
    "output_stride": 16,
    "key_channels": 8,
    "value_channels": 8,
    "head_channels": 16,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(NETWORK, len(CLASSES.names)), NETWORK, CLASSES)
    return path


def changed(model, path, **network):
    facts = {"network": {**NETWORK, "pretrained": None, **network}, "classes": CLASSES.names}
    safetensors.torch.save_file(safetensors.torch.load_file(model), path, {"fewframes": json.dumps(facts)})
    return path


def test_a_model_names_no_other_file(model, tmp_path, pwned):
    torch.save(Harm(pwned), tmp_path / "other.pt")
    path = changed(model, tmp_path / "m.safetensors", pretrained=str(tmp_path / "other.pt"))
    assert not load_model(path, CLASSES).training


@pytest.mark.parametrize(
    "network",
    [
        {"backbone": "hf-hub:somebody/something"},
        {"backbone": "local-dir:/etc"},
        {"backbone": 3},
        {"head_channels": 10**9},
        {"past_frames": -1},
        {"name": ["tmanet"]},
        {"value_channels": "many"},
    ],
)
def test_a_model_with_settings_of_another_is_refused_before_it_takes_memory(model, tmp_path, network):
    with pytest.raises(UserError):
        load_model(changed(model, tmp_path / "m.safetensors", **network), CLASSES)


@pytest.mark.parametrize("facts", ["[]", "{", "null", '{"network": [], "classes": []}', '{"classes": 3}', "[" * 10**5])
def test_a_model_with_other_facts_is_refused(model, tmp_path, facts):
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"fewframes": facts})
    with pytest.raises(UserError, match=r"m\.safetensors is no model of Fewframes"):
        load_model(path, CLASSES)


def own_sam2(tmp_path, *, within=(), **values):
    """A configuration with a part changed."""
    config = {"model": {"image_size": 512, "image_encoder": {"trunk": {"embed_dim": 24}}}}
    part = config["model"]
    for key in within:
        part = part[key]
    part.update(values)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_a_configuration_of_sam2_runs_nothing(tmp_path, pwned):
    worked_out = "${oc.create:{_target_:os.mkdir,path:" + str(pwned) + "}}"
    for config in (
        own_sam2(tmp_path, num_maskmem=worked_out),
        own_sam2(tmp_path, parts=[{"deeper": worked_out}]),
        own_sam2(tmp_path, **{worked_out: 1}),
    ):
        with pytest.raises(UserError, match=r"own\.yaml has '\$\{oc.create.*write the value"):
            model_config(config)
    with pytest.raises(UserError, match=r"names os\.mkdir, which is no model class"):
        model_config(own_sam2(tmp_path, num_maskmem={"_target_": "os.mkdir", "path": str(pwned)}))
    with pytest.raises(UserError, match="has a weights_path: leave it out"):
        model_config(own_sam2(tmp_path, within=["image_encoder", "trunk"], weights_path=str(tmp_path / "x.pt")))
    (tmp_path / "own.yaml").write_text(f"model: !!python/object/apply:os.mkdir ['{pwned}']")
    with pytest.raises(UserError, match="is no readable YAML"):
        model_config(str(tmp_path / "own.yaml"))


def test_yaml_makes_no_objects(tmp_path, pwned):
    (tmp_path / "t.yaml").write_text(f"classes: !!python/object/apply:os.mkdir ['{pwned}']")
    with pytest.raises(UserError, match="no readable YAML"):
        load_class_table(tmp_path / "t.yaml")


def test_the_doctor_runs_nothing_of_a_config(tmp_path, pwned):
    # Snakemake does, where this key stands at the top.
    program = {"__use_yte__": True, "__definitions__": ["import os", f"os.mkdir({str(pwned)!r})"]}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**program, "dataset": {"name": "d", "root": str(tmp_path)}}))
    report = examine(tmp_path / "c.yaml", REPOSITORY, workers=1)
    assert report.exit_code == 1 and "__use_yte__" in report.text()


# --- label files --------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path):
    path = tmp_path / "elsewhere.h5"
    write_label_file(path, {1: Layer(LABEL, "f", {"confidence": LABEL}, {"presence": np.zeros(2)})}, {"clip": "c"})
    return path


def crafted(path, elsewhere, craft):
    """A label file like the one elsewhere, but for what `craft` does to it."""
    path.write_bytes(elsewhere.read_bytes())
    with h5py.File(path, "r+") as file:
        craft(file, dict(file["labels/1"].attrs))
    return path


def external_link(file, _):
    del file["labels/1"]
    file["labels/1"] = h5py.ExternalLink("elsewhere.h5", "/labels/1")


def external_group(file, _):
    del file["labels"]
    file["labels"] = h5py.ExternalLink("elsewhere.h5", "/labels")


def soft_link(file, _):
    del file["labels/1"]
    file["labels/1"] = h5py.SoftLink("/confidence/1")


def replaced(file, attributes, **how):
    del file["labels/1"]
    file.create_dataset("labels/1", LABEL.shape, **how).attrs.update(attributes)


def raw_file(file, attributes):
    raw = Path(file.filename).with_name("secret")
    raw.write_bytes(LABEL.tobytes())
    replaced(file, attributes, dtype=np.uint8, external=[(str(raw), 0, LABEL.size)])


def virtual(file, attributes):
    layout = h5py.VirtualLayout(LABEL.shape, np.uint8)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "labels/1", LABEL.shape)
    del file["labels/1"]
    file.create_virtual_dataset("labels/1", layout).attrs.update(attributes)


def texts(file, attributes):
    replaced(file, attributes, dtype=h5py.string_dtype())


def huge(file, attributes):
    del file["labels/1"]
    file.create_dataset("labels/1", (1 << 20, 1 << 20), np.uint8, chunks=(64, 64)).attrs.update(attributes)


def no_group(file, _):
    del file["labels"]
    file["labels"] = 3


def damaged_notes(file, _):
    file["labels/1"].attrs["notes"] = "{"


@pytest.mark.parametrize(
    "craft",
    [external_link, external_group, soft_link, raw_file, virtual, texts, huge, no_group, damaged_notes],
    ids=lambda craft: craft.__name__,
)
def test_a_label_file_holds_its_labels_itself(tmp_path, elsewhere, craft):
    path = crafted(tmp_path / "made.h5", elsewhere, craft)
    for read in (read_layer, read_label_layer):
        with pytest.raises(UserError, match=r"made\.h5 (is missing or damaged|holds no label)"):
            read(path, 1)
    if craft is not damaged_notes:
        assert read_fingerprints(path) == {}


def test_maps_and_objects_lie_in_the_label_file_too(tmp_path, elsewhere):
    def craft(file, _):
        for name in ("confidence/1", "objects/1/presence"):
            del file[name]
            file[name] = h5py.ExternalLink("elsewhere.h5", f"/{name}")

    with pytest.raises(UserError, match="damaged"):
        read_layer(crafted(tmp_path / "made.h5", elsewhere, craft), 1)


def test_provenance_that_is_none_is_named(tmp_path, elsewhere):
    def craft(file, _):
        file.attrs["provenance"] = "{"

    with pytest.raises(UserError, match="damaged"):
        read_provenance(crafted(tmp_path / "made.h5", elsewhere, craft))


# --- pictures and videos ------------------------------------------------------------------------------


def test_a_picture_is_read_by_what_it_holds_and_programs_are_not(tmp_path):
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"
    for content in (script, b"P6 1 1 255\n\0\0\0", b"#!/bin/sh\n", b"\xc5\xd0\xd3\xc6" + bytes(40)):
        (tmp_path / "frame.png").write_bytes(content)
        for read in (read_image, read_label):
            with pytest.raises(UserError, match=r"frame\.png is not a readable image"):
                read(tmp_path / "frame.png")


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(size, *between):
    header = b"".join(side.to_bytes(4, "big") for side in size) + b"\x08\x00\x00\x00\x00"
    pixels = chunk(b"IDAT", zlib.compress(bytes(size[0] + 1) * size[1]))
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *between, pixels, chunk(b"IEND", b"")])


def test_a_second_header_makes_a_picture_no_larger(tmp_path):
    large = b"".join(side.to_bytes(4, "big") for side in (30_000, 30_000)) + b"\x08\x00\x00\x00\x00"
    (tmp_path / "two.png").write_bytes(png((4, 4), chunk(b"IHDR", large)))
    with pytest.raises(UserError, match=r"two\.png"):
        read_label(tmp_path / "two.png")


def test_text_that_unpacks_to_gigabytes_is_refused(tmp_path):
    bomb = zlib.compress(bytes(1 << 27), 9)
    (tmp_path / "bomb.png").write_bytes(png((4, 4), chunk(b"zTXt", b"Comment\0\0" + bomb)))
    with pytest.raises(UserError, match=r"bomb\.png"):
        read_label(tmp_path / "bomb.png")


def written_video(path, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, size)
    for level in range(5):
        writer.write(np.full((size[1], size[0], 3), 40 * level, np.uint8))
    writer.release()
    return path


LISTS = {
    "concatenation": "ffconcat version 1.0\nfile true.mp4\n",
    "absolute": "ffconcat version 1.0\nfile {true}\n",
    "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{true}\n#EXT-X-ENDLIST\n",
    "stream": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("content", LISTS.values(), ids=LISTS)
def test_a_video_leads_to_no_other_file_and_to_no_network(tmp_path, content, capfd):
    true = written_video(tmp_path / "true.mp4")
    capture = open_video(true)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    capture.release()
    (tmp_path / "list.mp4").write_text(content.format(true=true))
    with pytest.raises(UserError, match=r"list\.mp4 cannot be opened"):
        open_video(tmp_path / "list.mp4")


def test_a_video_of_huge_frames_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fewframes.core.videos.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(UserError, match="claims frames of 64x48 pixels"):
        open_video(written_video(tmp_path / "a.mp4"))


# --- annotations and packages -------------------------------------------------------------------------


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
