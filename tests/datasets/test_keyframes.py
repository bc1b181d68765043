"""The key frame told by pixels: JPEG noise, changed brightness, a still camera, slow traffic."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fewframes.core.errors import UserError
from fewframes.datasets.keyframes import key_task

HEIGHT, WIDTH = 100, 170


def view(shift, seed=0, blur=4):
    """A picture of a wall of blurred noise, moved by whole pixels: the wider the blur, the less that changes."""
    rng = np.random.default_rng(seed)
    wall = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH + 200, 3)).astype(np.uint8))
    wide = np.asarray(wall.filter(ImageFilter.GaussianBlur(blur)), float)
    wide = (wide - wide.mean()) * (50 / wide.std()) + 128
    return np.clip(wide[:, 100 + shift : 100 + shift + WIDTH], 0, 255).astype(np.uint8)


def find(root, image, frames, quality=85, suffix=".jpeg"):
    (root / "sequence").mkdir()
    Image.fromarray(image).save(root / "image.png")
    names = {}
    for number, frame in enumerate(frames, 2250):
        names[number] = f"{number:07d}{suffix}"
        Image.fromarray(frame).save(root / "sequence" / names[number], quality=quality)
    task = key_task("keys/a", root, "image.png", "sequence", names)
    assert not task.inputs and not task.outputs
    return task.make(task, root, root)


@pytest.mark.parametrize("suffix", [".jpeg", ".png"])
@pytest.mark.parametrize("count", [1, 2, 30, 31])
def test_the_middle_frame_is_confirmed(tmp_path, count, suffix):
    middle = count // 2
    facts = find(tmp_path, view(0), [view(2 * (i - middle)) for i in range(count)], suffix=suffix)
    assert facts.pop("difference") < 0.03
    assert facts == {"how": "position", "key": 2250 + middle, "position": middle}


@pytest.mark.parametrize("place", [0, 3, 14, 16, 30])
def test_another_frame_is_found(tmp_path, place):
    facts = find(tmp_path, view(0), [view(i - place) for i in range(31)], quality=75)
    assert (facts["how"], facts["key"], facts["position"]) == ("search", 2250 + place, place)


def test_in_slow_traffic_the_middle_frame_is_not_taken_for_its_neighbour(tmp_path):
    facts = find(tmp_path, view(0, blur=24), [view(i - 3, blur=24) for i in range(9)], suffix=".png")
    assert find_difference(tmp_path, 4) < 0.05
    assert (facts["how"], facts["position"]) == ("search", 3)


def find_difference(root, position):
    """How far the frame at a position of what `find` wrote is from the image."""
    number = 2250 + position
    task = key_task("keys/b", root, "image.png", "sequence", {number: f"{number:07d}.png"})
    return task.make(task, root, root)["difference"]


def test_brightness_and_contrast_do_not_count(tmp_path):
    dull = [(view(2 * (i - 9)) * (219 / 255) + 16).astype(np.uint8) for i in range(21)]
    assert find(tmp_path, view(0), dull)["position"] == 9


def test_before_a_still_camera_the_middle_is_taken(tmp_path):
    rng = np.random.default_rng(1)
    frames = [np.clip(view(0) + rng.normal(0, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8) for _ in range(9)]
    # The image is the frame before the middle: sensor noise alone tells them apart.
    facts = find(tmp_path, frames[3], frames)
    assert (facts["how"], facts["position"]) == ("position", 4)


def test_a_stop_keeps_the_frame_nearest_to_the_middle(tmp_path):
    shifts = [0] * 6 + [3 * i for i in range(1, 15)]
    facts = find(tmp_path, view(0), [view(shift) for shift in shifts])
    assert (facts["how"], facts["position"]) == ("search", 5)


def test_no_frame_is_the_image(tmp_path):
    facts = find(tmp_path, view(0), [view(i, seed=1) for i in range(7)])
    assert facts["how"] == "none" and facts["difference"] > 0.5 and "key" not in facts


def test_a_missing_key_frame_is_not_replaced_by_its_neighbour(tmp_path):
    facts = find(tmp_path, view(0), [view(i) for i in range(-5, 6) if i])
    assert facts["how"] == "none" and facts["difference"] < 0.5


def test_other_sizes_are_not_compared(tmp_path):
    facts = find(tmp_path, view(0), [np.zeros((50, 85, 3), np.uint8)] * 5)
    assert facts == {"how": "size", "image": (HEIGHT, WIDTH), "frame": (50, 85)}


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (49, 97)])
def test_any_size_and_flat_pictures(tmp_path, size):
    facts = find(tmp_path, np.full((*size, 3), 90, np.uint8), [np.full((*size, 3), 90, np.uint8)] * 3)
    assert (facts["how"], facts["difference"]) == ("position", 0)


def test_damaged_frames_are_named(tmp_path):
    frames = [view(i) for i in range(-2, 3)]
    find(tmp_path, view(0), frames)
    names = {number: f"{number:07d}.jpeg" for number in range(2250, 2255)}
    bad = tmp_path / "sequence/0002252.jpeg"
    # A whole header without a picture.
    bad.write_bytes(bad.read_bytes()[:700])
    task = key_task("keys/a", tmp_path, "image.png", "sequence", names)
    with pytest.raises(UserError, match=r"0002252\.jpeg"):
        task.make(task, tmp_path, tmp_path)
    bad.unlink()
    with pytest.raises(UserError, match=r"0002252\.jpeg does not exist"):
        key_task("keys/a", tmp_path, "image.png", "sequence", names)


def test_a_changed_frame_is_another_task(tmp_path):
    find(tmp_path, view(0), [view(i) for i in range(3)])
    names = {number: f"{number:07d}.jpeg" for number in range(2250, 2253)}
    before = key_task("keys/a", tmp_path, "image.png", "sequence", names).recipe
    assert key_task("keys/a", tmp_path, "image.png", "sequence", names).recipe == before
    Image.fromarray(view(40)).save(tmp_path / "sequence/0002251.jpeg", quality=30)
    assert key_task("keys/a", tmp_path, "image.png", "sequence", names).recipe != before
