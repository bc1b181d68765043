import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.images import (
    check_size,
    image_mode,
    image_size,
    read_colours,
    read_image,
    read_instances,
    read_label,
)


def saved(path, array, mode=None):
    Image.fromarray(array).convert(mode).save(path) if mode else Image.fromarray(array).save(path)
    return path


def test_images_are_rgb_and_labels_are_ids(tmp_path):
    rgb = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(read_image(saved(tmp_path / "a.png", rgb)), rgb)
    assert image_size(tmp_path / "a.png") == (4, 6)
    grey = read_image(saved(tmp_path / "g.png", rgb[..., 0]))
    assert np.array_equal(grey[..., 2], rgb[..., 0])
    ids = rgb[..., 0]
    assert np.array_equal(read_label(saved(tmp_path / "l.png", ids)), ids)
    palette = Image.fromarray(ids)
    palette.putpalette([200 - i % 200 for i in range(768)])
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_label(tmp_path / "p.png"), ids)
    deep = (ids.astype(np.uint16) + 26000).astype(np.uint16)
    assert np.array_equal(read_instances(saved(tmp_path / "i.png", deep)), deep)


@pytest.mark.parametrize("read", [read_image, read_label, read_instances, image_size])
def test_an_absent_or_foreign_file_is_named(tmp_path, read):
    with pytest.raises(UserError, match=r"none\.png does not exist"):
        read(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match=r"text\.png is not a readable image"):
        read(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty\.png"):
        read(tmp_path / "empty.png")


def test_a_truncated_image_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg"):
        path = saved(tmp_path / name, noise)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(UserError, match=f"{name} is damaged"):
            read_image(path)


def test_a_colour_picture_is_no_label_and_sixteen_bits_no_image(tmp_path):
    rgb = saved(tmp_path / "rgb.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="not a label map"):
        read_label(rgb)
    with pytest.raises(UserError, match="not a 16-bit map"):
        read_instances(rgb)
    deep = saved(tmp_path / "deep.png", np.zeros((4, 4), np.uint16))
    with pytest.raises(UserError, match="convert it to 8-bit"):
        read_image(deep)


def test_an_animation_and_a_decompression_bomb_are_refused_before_they_are_decoded(tmp_path):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "moving.png", save_all=True, append_images=[second])
    with pytest.raises(UserError, match=r"moving\.png is animated \(2 pictures\)"):
        read_image(tmp_path / "moving.png")
    with pytest.raises(UserError, match="animated"):
        read_label(tmp_path / "moving.png")
    for name, side in (("large", 9_000), ("bomb", 60_000)):
        still = tmp_path / f"{name}.png"
        Image.new("L", (8, 8)).save(still)
        data = bytearray(still.read_bytes())
        data[16:24] = side.to_bytes(4, "big") * 2  # the header's width and height
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        still.write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}\.png .*(claims to be 9000x9000|decompression bomb)"):
            read_label(still)


def test_label_pictures_are_read_as_colours(tmp_path):
    rgb = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(read_colours(saved(tmp_path / "a.png", rgb, "RGBA")), rgb)
    assert image_mode(tmp_path / "a.png") == "RGBA"
    with pytest.raises(UserError, match="not a colour picture"):
        read_colours(saved(tmp_path / "l.png", rgb[..., 0]))


@pytest.mark.parametrize("chunk", [b"gAMA", b"pHYs", b"tRNS", b"cHRM", b"acTL"])
def test_a_damaged_chunk_is_named(tmp_path, chunk):
    path = saved(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    data = path.read_bytes()
    short = chunk + b"\0"
    path.write_bytes(data[:33] + (1).to_bytes(4, "big") + short + zlib.crc32(short).to_bytes(4, "big") + data[33:])
    try:
        read_label(path)
    except UserError as error:
        assert "a.png" in str(error)


pictures = st.sampled_from([(), (3,)]).flatmap(
    lambda channels: hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda s: s + channels))
)


@settings(max_examples=60)
@given(pictures, st.integers(1, 50), st.sampled_from(["plain", "transparent", "profile"]))
def test_decoding_equals_pillows_down_to_the_rows_asked_for(tmp_path_factory, picture, rows, kind):
    path = tmp_path_factory.getbasetemp() / "picture.png"
    clear = {"transparency": 7 if picture.ndim == 2 else (1, 2, 3)}
    Image.fromarray(picture).save(path, **{"plain": {}, "transparent": clear, "profile": {"icc_profile": b"x"}}[kind])
    rgb = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(read_image(path), rgb)
    top = read_image(path, rows)
    assert top.shape == rgb.shape and np.array_equal(top[:rows], rgb[:rows])
    if picture.ndim == 2:
        assert np.array_equal(read_label(path), picture)


def test_rows_that_nobody_asks_for_are_not_decoded(tmp_path):
    noise = np.random.default_rng(0).integers(1, 255, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / "a.png", noise)
    assert not read_image(path, 20)[20:].any()
    assert np.array_equal(read_image(saved(tmp_path / "a.bmp", noise), 20), noise)  # a format without a quick way


def test_what_the_quick_decoder_refuses_pillow_decides(tmp_path):
    path = saved(tmp_path / "a.png", np.full((4, 6, 3), 9, np.uint8))
    path.write_bytes(path.read_bytes()[:-8])  # the closing chunk is cut, all pixels are there
    assert np.array_equal(read_image(path), np.asarray(Image.open(path)))
    data = bytearray(path.read_bytes())
    data[50] ^= 16  # among the pixels
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.png is damaged"):
        read_image(path)


def test_a_size_that_is_another_is_told_as_width_and_height():
    check_size("a.png", (2, 3, 3), [2, 3], "its label is", "mend it")
    with pytest.raises(UserError, match=r"^a.png is 3x2 but its label is 2x3: mend it\.$"):
        check_size("a.png", (2, 3), (3, 2), "its label is", "mend it")
