import cv2
import numpy as np
import pytest

from fewframes.learning.augmentation import MEAN, STD, Augmentation, Batch, distort, normalise

RNG = np.random.default_rng(0)
IMAGE = cv2.GaussianBlur(RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8), (0, 0), 2)
LABEL = np.kron(RNG.integers(0, 5, (5, 6)), np.ones((8, 10))).astype(np.uint8)


def augmented(recipe: Augmentation, frames: list[np.ndarray], label: np.ndarray, rng: np.random.Generator):
    """What a batch would hold of a sample: `uint8 [frames, *crop, 3]` and `uint8 [*crop]`."""
    clip, target = np.empty((len(frames), *recipe.crop, 3), np.uint8), np.empty(recipe.crop, np.uint8)
    recipe.render(recipe.view(label, rng), frames, label, rng, clip, target)
    return clip, target


def test_nothing_to_do_changes_nothing() -> None:
    recipe = Augmentation((40, 60), (1, 1), flip=False, photometric=False)
    clip, label = augmented(recipe, [IMAGE, IMAGE], LABEL, RNG)
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
    recipe = Augmentation((height, width), (factor, factor), flip=False, photometric=False)
    clip, label = augmented(recipe, [IMAGE], LABEL, RNG)
    scaled = cv2.resize(IMAGE, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.abs(clip[0].astype(int) - scaled).max() <= 1
    rows = ((np.arange(height) + 0.5) * 40 / height).astype(int)
    columns = ((np.arange(width) + 0.5) * 60 / width).astype(int)
    np.testing.assert_array_equal(label, LABEL[np.ix_(rows, columns)])


def test_frames_and_label_share_their_geometry() -> None:
    # The label drawn as a picture stays the picture of the label, through scale, crop and mirror.
    shades = np.repeat((LABEL * 40)[..., None], 3, axis=2)
    augment = Augmentation((24, 24), (0.5, 2.0), flip=True, photometric=False)
    flipped = set()
    for seed in range(20):
        clip, label = augmented(augment, [shades, shades], LABEL, np.random.default_rng(seed))
        np.testing.assert_array_equal(clip[0], clip[1])
        inside = (label != 255) & (cv2.Laplacian(label, cv2.CV_64F, ksize=3) == 0)
        agree = np.abs(clip[0, ..., 0].astype(int) - label.astype(int) * 40) <= 1
        assert agree[inside].mean() > 0.95
        flipped.add(label.tobytes())
    assert len(flipped) > 10


def test_half_of_the_views_are_mirrored() -> None:
    augment = Augmentation((40, 60), (1, 1), flip=True, photometric=False)
    labels = [augmented(augment, [IMAGE], LABEL, np.random.default_rng(seed))[1] for seed in range(60)]
    mirrored = sum(np.array_equal(label, LABEL[:, ::-1]) for label in labels)
    assert mirrored + sum(np.array_equal(label, LABEL) for label in labels) == 60
    assert 18 <= mirrored <= 42


def test_what_the_image_does_not_fill_is_black_and_ignored() -> None:
    recipe = Augmentation((64, 64), (0.5, 0.5), flip=False, photometric=True)
    clip, label = augmented(recipe, [IMAGE], LABEL, RNG)
    assert recipe.view(LABEL, RNG).size == (20, 30)
    assert (label[20:] == 255).all()
    assert (label[:, 30:] == 255).all()
    assert (label[:20, :30] != 255).all()
    assert (clip[0, 20:] == 0).all()
    assert (clip[0, :, 30:] == 0).all()


def test_crops_of_one_class_alone_are_drawn_again() -> None:
    label = np.zeros((40, 60), np.uint8)
    label[:, 30:] = 1
    augment = Augmentation((40, 20), (1, 1), flip=False, photometric=False)
    shares = [
        np.bincount(augmented(augment, [IMAGE], label, np.random.default_rng(seed))[1].ravel()).max() / 800
        for seed in range(40)
    ]
    # A quarter of the 41 places pass; ten draws all but always find one.
    assert sum(share < 0.75 for share in shares) > 35


@pytest.mark.parametrize("crop", [(24, 24), (13, 60), (90, 30)])
def test_rows_below_a_view_do_not_matter(crop: tuple[int, int]) -> None:
    recipe = Augmentation(crop, (0.5, 3.0), flip=True, photometric=True)
    spared = 0
    for seed in range(100):
        view = recipe.view(LABEL, np.random.default_rng(seed))
        cut = IMAGE.copy()
        cut[view.rows :] = 0
        spared += view.rows < len(IMAGE)
        whole, part = (augmented(recipe, [image], LABEL, np.random.default_rng(seed))[0] for image in (IMAGE, cut))
        np.testing.assert_array_equal(whole, part)
    assert spared > 10 or crop[0] > 40


def test_colours_change_frame_by_frame_and_leave_the_label() -> None:
    augment = Augmentation((40, 60), (1, 1), flip=False, photometric=True)
    clip, label = augmented(augment, [IMAGE, IMAGE], LABEL, np.random.default_rng(1))
    assert not np.array_equal(clip[0], clip[1])
    np.testing.assert_array_equal(label, LABEL)


def test_distortion_stays_near_the_identity_in_the_mean_and_is_idle_in_some_draws() -> None:
    drawn = [distort(IMAGE, np.random.default_rng(seed)) for seed in range(200)]
    idle = sum(np.array_equal(image, IMAGE) for image in drawn)
    assert 3 <= idle <= 30  # one in sixteen
    assert np.abs(np.mean(drawn) - IMAGE.mean()) < 12
    assert np.std([image.mean() for image in drawn]) > 15
