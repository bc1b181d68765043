"""Label files, pictures and videos made to do harm: each is refused in a sentence, and leads to no other file."""

import zlib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

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
from fewframes.core.videos import open_video

LABEL = np.zeros((4, 6), np.uint8)


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
