"""Files told whole from their ends: against what a decoder makes of them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fewframes.doctor.headers import FlawError, inspect, whole


def content(kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (31, 17), **options) -> bytes:
    buffer = io.BytesIO()
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], bands), np.uint8)
    picture = Image.fromarray(pixels.squeeze(), mode if mode != "P" else "L")
    (picture.convert("P") if mode == "P" else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def flaw(path: Path, data: bytes, look=inspect) -> str:
    path.write_bytes(data)
    try:
        look(path)
    except FlawError as error:
        return error.kind
    return ""


@pytest.mark.parametrize(
    ("kind", "mode", "channels", "palette"),
    [
        *[("PNG", "RGB", 3, False), ("PNG", "RGBA", 4, False), ("PNG", "L", 1, False), ("PNG", "LA", 2, False)],
        *[("PNG", "P", 1, True), ("JPEG", "RGB", 3, False), ("JPEG", "L", 1, False), ("JPEG", "CMYK", 4, False)],
        *[("BMP", "RGB", 3, False), ("BMP", "L", 1, False)],
    ],
)
def test_headers_say_what_is_in_the_file(tmp_path, kind, mode, channels, palette):
    path = tmp_path / "picture"
    path.write_bytes(content(kind, mode))
    header = inspect(path)
    assert (header.height, header.width, header.sides) == (17, 31, "31x17")
    assert (header.bits, header.channels) == (8, channels) and (header.palette == palette or kind == "BMP")


def test_sixteen_bits(tmp_path):
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(tmp_path / "a.png")
    assert (inspect(tmp_path / "a.png").bits, inspect(tmp_path / "a.png").channels) == (16, 1)


def test_a_progressive_jpeg_with_a_thumbnail_and_filled_marks(tmp_path):
    data = content("JPEG", size=(640, 480), progressive=True, quality=90)
    thumbnail = content("JPEG", size=(16, 9))
    data = data[:2] + b"\xff\xff\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    path = tmp_path / "a.jpg"
    assert flaw(path, data + b"a little more") == "" and inspect(path).sides == "640x480"
    assert flaw(path, data[: len(data) // 2]) == "short"


@given(st.sampled_from(["PNG", "JPEG"]), st.floats(0, 0.999))
def test_a_file_cut_anywhere_is_not_whole(tmp_path_factory, kind, share):
    data = content(kind, size=(64, 64))
    path = tmp_path_factory.mktemp("cut") / "a"
    found = flaw(path, data[: int(share * len(data))])
    assert found in ("short", "empty", "damaged")


def test_a_file_whose_end_was_never_written_is_cut_short(tmp_path):
    data = content(size=(64, 64))
    assert flaw(tmp_path / "a", data[:6000] + bytes(len(data) - 6000)) == "short"


@given(st.integers(8, 10**6), st.integers(1, 255))
def test_any_changed_byte_of_a_png_is_noticed(tmp_path_factory, place, change):
    data = bytearray(content(mode="L"))
    data[8 + place % (len(data) - 8)] ^= change
    assert flaw(tmp_path_factory.mktemp("bit") / "a", bytes(data), whole) in ("damaged", "short")


def test_animation_behind_a_long_profile_is_seen(tmp_path):
    data = content()
    text = b"tEXt" + b"a\0" + b"b" * 5000
    control = b"acTL" + struct.pack(">II", 2, 0)
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (text, control))
    assert flaw(tmp_path / "a", data[:33] + chunks + data[33:]) == "animated"
    assert flaw(tmp_path / "a", data[:33] + chunks[: len(text) + 8] + data[33:]) == ""


def test_what_cannot_be_opened(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    kinds = {}
    for name in ("absent", "folder", "loop"):
        with pytest.raises(FlawError) as caught:
            inspect(tmp_path / name)
        kinds[name] = caught.value.kind
    assert kinds == {"absent": "absent", "folder": "unreadable", "loop": "dead"}
    assert flaw(tmp_path / "a", b"") == "empty"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "begins with '<!DOCTYPE html><'"),
        (b"404\nnot here", "begins with '404'"),
        (b"\x1f\x8b\x08\0\0", "begins with the bytes 1f 8b 08 00 00"),
        (bytes(99), "begins with zero bytes"),
    ],
)
def test_what_is_no_image_is_told_by_how_it_begins(tmp_path, data, detail):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(FlawError) as caught:
        inspect(tmp_path / "a.png")
    assert (caught.value.kind, caught.value.detail) == ("foreign", detail)
