import math
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from fewframes.core.errors import UserError
from fewframes.learning.augmentation import MEAN, STD, Batch, Recipe, normalise, recipe, tdnet
from fewframes.learning.augmentation.tdnet import TDNetRecipe, jitter
from fewframes.learning.augmentation.tmanet import TMANetRecipe, distort

RNG = np.random.default_rng(0)
IMAGE = cv2.GaussianBlur(RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8), (0, 0), 2)
LABEL = np.kron(RNG.integers(0, 5, (5, 6)), np.ones((8, 10))).astype(np.uint8)


def augmented(augment: Recipe, frames: list[np.ndarray], label: np.ndarray, rng: np.random.Generator):
    """What a batch would hold of a sample: `uint8 [frames, *crop, 3]` and `uint8 [*crop]`."""
    clip, target = np.empty((len(frames), *augment.crop, 3), np.uint8), np.empty(augment.crop, np.uint8)
    augment.render(augment.view(label, rng), frames, label, rng, clip, target)
    return clip, target


def test_recipes_go_by_name() -> None:
    assert recipe("tmanet", (4, 5), (0.5, 2), True, False) == TMANetRecipe(
        (4, 5), (0.5, 2), flip=True, photometric=False
    )
    assert recipe("tdnet", (4, 5), (0.5, 2), False, True) == TDNetRecipe((4, 5), (0.5, 2), flip=False, photometric=True)
    with pytest.raises(UserError, match=r"training.augmentation is 'mosaic': choose tdnet or tmanet."):
        recipe("mosaic", (4, 5), (0.5, 2), True, True)


def test_nothing_to_do_changes_nothing() -> None:
    augment = TMANetRecipe((40, 60), (1, 1), flip=False, photometric=False)
    clip, label = augmented(augment, [IMAGE, IMAGE], LABEL, RNG)
    np.testing.assert_array_equal(label, LABEL)
    np.testing.assert_array_equal(clip, [IMAGE, IMAGE])


def test_values_are_normalised_by_channel_and_beyond_the_image_they_are_zero() -> None:
    np.testing.assert_allclose(normalise(IMAGE)[3, 4], (IMAGE[3, 4] - np.array(MEAN)) / STD, rtol=1e-5)
    frames = np.stack([[IMAGE, IMAGE[::-1]], [IMAGE, IMAGE]])
    floats = Batch(frames, np.stack([LABEL, LABEL]), np.array([[40, 60], [30, 20]])).normalised()
    np.testing.assert_array_equal(floats[0], [normalise(IMAGE), normalise(IMAGE[::-1].copy())])
    np.testing.assert_array_equal(floats[1, 1, :30, :20], normalise(IMAGE[:30, :20]))
    assert (floats[1, :, 30:] == 0).all() and (floats[1, :, :, 20:] == 0).all()


@pytest.mark.parametrize("factor", [0.5, 1.3, 2.0])
def test_a_view_is_a_crop_of_the_scaled_image(factor: float) -> None:
    height, width = int(40 * factor + 0.5), int(60 * factor + 0.5)
    augment = TMANetRecipe((height, width), (factor, factor), flip=False, photometric=False)
    clip, label = augmented(augment, [IMAGE], LABEL, RNG)
    scaled = cv2.resize(IMAGE, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.abs(clip[0].astype(int) - scaled).max() <= 1
    rows = ((np.arange(height) + 0.5) * 40 / height).astype(int)
    columns = ((np.arange(width) + 0.5) * 60 / width).astype(int)
    np.testing.assert_array_equal(label, LABEL[np.ix_(rows, columns)])


@pytest.mark.parametrize("name", ["tdnet", "tmanet"])
def test_frames_and_label_share_their_geometry(name: str) -> None:
    # The label drawn as a picture stays the picture of the label, through scale, crop and mirror.
    shades = np.repeat((LABEL * 40)[..., None], 3, axis=2)
    augment = recipe(name, (24, 24), (0.5, 2.0), flip=True, photometric=False)
    distinct = set()
    for seed in range(20):
        clip, label = augmented(augment, [shades, shades], LABEL, np.random.default_rng(seed))
        np.testing.assert_array_equal(clip[0], clip[1])
        inside = (label != 255) & (cv2.Laplacian(label, cv2.CV_64F, ksize=3) == 0)
        agree = np.abs(clip[0, ..., 0].astype(int) - label.astype(int) * 40) <= 1
        assert agree[inside].mean() > 0.95
        distinct.add(label.tobytes())
    assert len(distinct) > 10


def test_half_of_the_views_are_mirrored() -> None:
    augment = TMANetRecipe((40, 60), (1, 1), flip=True, photometric=False)
    labels = [augmented(augment, [IMAGE], LABEL, np.random.default_rng(seed))[1] for seed in range(60)]
    mirrored = sum(np.array_equal(label, LABEL[:, ::-1]) for label in labels)
    assert mirrored + sum(np.array_equal(label, LABEL) for label in labels) == 60
    assert 18 <= mirrored <= 42


def test_what_the_image_does_not_fill_is_black_and_ignored() -> None:
    augment = TMANetRecipe((64, 64), (0.5, 0.5), flip=False, photometric=True)
    clip, label = augmented(augment, [IMAGE], LABEL, RNG)
    assert augment.view(LABEL, RNG).size == (20, 30)
    assert (label[20:] == 255).all()
    assert (label[:, 30:] == 255).all()
    assert (label[:20, :30] != 255).all()
    assert (clip[0, 20:] == 0).all()
    assert (clip[0, :, 30:] == 0).all()


def test_crops_of_one_class_alone_are_drawn_again() -> None:
    label = np.zeros((40, 60), np.uint8)
    label[:, 30:] = 1
    augment = TMANetRecipe((40, 20), (1, 1), flip=False, photometric=False)
    shares = [
        np.bincount(augmented(augment, [IMAGE], label, np.random.default_rng(seed))[1].ravel()).max() / 800
        for seed in range(40)
    ]
    # A quarter of the 41 places pass; ten draws all but always find one.
    assert sum(share < 0.75 for share in shares) > 35


@pytest.mark.parametrize("name", ["tdnet", "tmanet"])
@pytest.mark.parametrize("crop", [(24, 24), (13, 60), (90, 30)])
def test_rows_below_a_view_do_not_matter(name: str, crop: tuple[int, int]) -> None:
    augment = recipe(name, crop, (0.5, 3.0), flip=True, photometric=True)
    spared = 0
    for seed in range(100):
        view = augment.view(LABEL, np.random.default_rng(seed))
        cut = IMAGE.copy()
        cut[view.rows :] = 0
        spared += view.rows < len(IMAGE)
        whole, part = (augmented(augment, [image], LABEL, np.random.default_rng(seed))[0] for image in (IMAGE, cut))
        np.testing.assert_array_equal(whole, part)
    assert spared > 10 or (name == "tmanet" and crop[0] > 40)


def test_colours_change_frame_by_frame_and_leave_the_label() -> None:
    augment = TMANetRecipe((40, 60), (1, 1), flip=False, photometric=True)
    clip, label = augmented(augment, [IMAGE, IMAGE], LABEL, np.random.default_rng(1))
    assert not np.array_equal(clip[0], clip[1])
    np.testing.assert_array_equal(label, LABEL)


def test_distortion_stays_near_the_identity_in_the_mean_and_is_idle_in_some_draws() -> None:
    drawn = [distort(IMAGE, np.random.default_rng(seed)) for seed in range(200)]
    idle = sum(np.array_equal(image, IMAGE) for image in drawn)
    assert 3 <= idle <= 30  # one in sixteen
    assert np.abs(np.mean(drawn) - IMAGE.mean()) < 12
    assert np.std([image.mean() for image in drawn]) > 15


SOURCE = (60, 100)
CROP = (72, 150)


class Drawn(NamedTuple):
    """What TDNet's recipe drew, in the published order of steps: degrees anticlockwise, the rest in pixels."""

    angle: float
    mirrored: bool
    scaled: np.ndarray
    corner: np.ndarray


def drawn(augment: TDNetRecipe, seed: int) -> Drawn:
    """Read off two ramps what their view must have been: their colours tell which source pixel is seen where."""
    y, x = np.indices(SOURCE)
    ramps = np.stack([2 * x + 20, 3 * y + 20, 0 * x], axis=2).astype(np.uint8)
    seen = augmented(augment, [ramps], np.zeros(SOURCE, np.uint8), np.random.default_rng(seed))[0][0]
    source = (seen[..., :2].astype(float) - 20) / [2, 3]
    inside = ((source > 1) & (source < [SOURCE[1] - 2, SOURCE[0] - 2])).all(axis=2)
    rows, columns = np.nonzero(inside)
    pixels = np.stack([columns, rows, np.ones(len(rows))], axis=1)
    across, down, offset = np.linalg.lstsq(pixels, source[inside], rcond=None)[0]
    angle = math.degrees(math.atan2(-down[0], down[1]))
    mirrored = bool(across[0] < 0)
    assert abs(np.dot(across, down)) < 0.01  # no shear
    scaled = np.array([SOURCE[0] / np.hypot(*down), SOURCE[1] / np.hypot(*across)])
    middle = np.linalg.solve(np.stack([across, down], axis=1), (np.array(SOURCE[::-1]) - 1) / 2 - offset)
    return Drawn(angle, mirrored, scaled, scaled / 2 - 0.5 - middle[::-1])


def test_tdnet_draws_what_is_published() -> None:
    augment = TDNetRecipe(CROP, (0.5, 2.0), flip=True, photometric=False)
    draws = [drawn(augment, seed) for seed in range(120)]
    factors = [float(d.scaled[0] / CROP[0]) for d in draws]
    nearest = [min((1.0, 1.25, 1.5, 1.75, 2.0), key=lambda known, f=factor: abs(known - f)) for factor in factors]
    for draw, factor in zip(draws, nearest, strict=True):
        np.testing.assert_allclose(draw.scaled, [int(side * factor) for side in CROP], atol=0.5)
        np.testing.assert_allclose(draw.corner, draw.corner.round(), atol=0.2)
        assert (draw.corner > -0.2).all() and (draw.corner < draw.scaled - CROP + 0.7).all()
    # 0.75 shows the whole picture as 1 does: 40 of 120 together, and 20 of each other.
    assert 26 <= nearest.count(1.0) <= 54
    assert all(9 <= nearest.count(factor) <= 33 for factor in (1.25, 1.5, 1.75, 2.0))
    angles = [draw.angle for draw in draws]
    assert -5.05 < min(angles) < -4 and 4 < max(angles) < 5.05 and 2.4 < np.std(angles) < 3.4
    assert 40 <= sum(draw.mirrored for draw in draws) <= 80
    assert not any(drawn(TDNetRecipe(CROP, (0.5, 2.0), flip=False, photometric=False), s).mirrored for s in range(20))


def test_one_resampling_shows_what_the_published_steps_do() -> None:
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.integers(0, 256, (*SOURCE, 3), dtype=np.uint8), (0, 0), 4)
    label = np.kron(rng.integers(0, 5, (4, 5)), np.ones((15, 20))).astype(np.uint8)
    augment = TDNetRecipe(CROP, (1.0, 2.0), flip=True, photometric=False)
    for seed in range(12):
        angle, mirrored, scaled, corner = drawn(augment, seed)
        clip, target = augmented(augment, [image], label, np.random.default_rng(seed))
        box = [int(side) for side in (*corner.round()[::-1], *(corner.round() + CROP)[::-1])]
        steps = []
        for pixels, how, fill in ((image, Image.Resampling.BILINEAR, 0), (label, Image.Resampling.NEAREST, 255)):
            turned = Image.fromarray(pixels).rotate(
                angle, how, fillcolor=(fill, fill, fill) if pixels.ndim == 3 else fill
            )
            resized = turned.resize(CROP[::-1], how)
            flipped = ImageOps.mirror(resized) if mirrored else resized
            steps.append(np.asarray(flipped.resize([int(s) for s in scaled.round()[::-1]], how).crop(box)))
        assert (target == steps[1]).mean() > 0.96
        assert (target == 255).mean() == pytest.approx((steps[1] == 255).mean(), abs=0.01)
        both = (target != 255) & (cv2.erode((steps[1] != 255).astype(np.uint8), np.ones((9, 9))) == 1)
        assert np.abs(clip[0].astype(int) - steps[0])[both].mean() < 1


def test_what_a_turned_image_does_not_fill_is_black_and_ignored_to_its_very_edge() -> None:
    augment = TDNetRecipe(CROP, (0.5, 2.0), flip=True, photometric=False)
    white, label = np.full((*SOURCE, 3), 255, np.uint8), np.full(SOURCE, 7, np.uint8)
    shares = []
    for seed in range(20):
        clip, target = augmented(augment, [white], label, np.random.default_rng(seed))
        assert set(np.unique(target)) <= {7, 255}
        np.testing.assert_array_equal(clip[0], np.where(target == 255, 0, 255)[..., None].repeat(3, axis=2))
        shares.append((target == 255).mean())
    assert 0.01 < max(shares) < 0.08
    assert augment.view(label, RNG).size == CROP  # none of it counts as padding, which is 0 after normalisation


def test_pixels_without_a_label_keep_their_colours() -> None:
    augment = TDNetRecipe(CROP, (1, 1), flip=False, photometric=False)
    white, label = np.full((*SOURCE, 3), 255, np.uint8), np.full(SOURCE, 255, np.uint8)
    assert (augmented(augment, [white], label, RNG)[0] == 255).mean() > 0.9


def test_scale_selects_among_the_published_factors() -> None:
    heights = {round(drawn(TDNetRecipe(CROP, (1.2, 1.6), False, False), seed).scaled[0]) for seed in range(20)}
    assert heights == {90, 108}
    whole = drawn(TDNetRecipe(CROP, (0.5, 0.9), False, False), 0)
    np.testing.assert_allclose(whole.scaled, CROP, atol=0.5)
    np.testing.assert_allclose(whole.corner, 0, atol=0.2)
    with pytest.raises(UserError, match=r"training.scale is \[1.05, 1.2\], which holds no factor .* 0.75, 1.0, 1.25"):
        TDNetRecipe(CROP, (1.05, 1.2), False, False)


@pytest.mark.parametrize("factors", [(1, 1, 1), (0.5, 1.5, 0.5), (1.5, 0.5, 1.5), (1.2, 1.4, 1.5), (0.7, 0.8, 0.6)])
def test_jitter_is_pillows_three_enhancements_in_their_order(factors: tuple[float, float, float]) -> None:
    vivid = cv2.normalize(IMAGE, None, 0, 255, cv2.NORM_MINMAX)
    expected = Image.fromarray(vivid)
    for enhancement, factor in zip(("Brightness", "Contrast", "Color"), factors, strict=True):
        expected = getattr(ImageEnhance, enhancement)(expected).enhance(factor)
    off = np.abs(jitter(vivid, *factors).astype(int) - np.asarray(expected))
    assert off.max() <= 4 and off.mean() < 2  # Pillow cuts decimals off at each step


def test_tdnets_colours_are_shared_by_a_clip_and_always_change(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, ...]] = []
    monkeypatch.setattr(tdnet, "jitter", lambda image, *factors: asked.append(factors) or jitter(image, *factors))
    coloured, plain = (TDNetRecipe(CROP, (0.5, 2.0), flip=True, photometric=p) for p in (True, False))
    for seed in range(60):
        clip, label = augmented(coloured, [IMAGE, IMAGE], LABEL, np.random.default_rng(seed))
        as_is, as_is_label = augmented(plain, [IMAGE, IMAGE], LABEL, np.random.default_rng(seed))
        np.testing.assert_array_equal(clip[0], clip[1])
        np.testing.assert_array_equal(label, as_is_label)
        assert not np.array_equal(clip, as_is)
    assert asked[::2] == asked[1::2] and len(asked) == 120
    drawn_factors = np.array(asked[::2])
    assert (drawn_factors.min(axis=0) > 0.5).all() and (drawn_factors.min(axis=0) < 0.6).all()
    assert (drawn_factors.max(axis=0) < 1.5).all() and (drawn_factors.max(axis=0) > 1.4).all()
    assert np.abs(np.corrcoef(drawn_factors.T) - np.eye(3)).max() < 0.4


def test_tdnets_samples_depend_on_their_generator_alone() -> None:
    augment = TDNetRecipe(CROP, (0.5, 2.0), flip=True, photometric=True)
    one, same, other = (augmented(augment, [IMAGE], LABEL, np.random.default_rng(seed)) for seed in (4, 4, 5))
    for part, again, differing in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(part, again)
        assert not np.array_equal(part, differing)
