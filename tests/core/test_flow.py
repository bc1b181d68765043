import cv2
import numpy as np
import pytest

from fewframes.core.errors import UserError
from fewframes.core.flow import DenseFlow, compose, disagreement, magnitude, sample, sample_labels


def texture(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def constant(dx: float, dy: float, height: int = 96, width: int = 128) -> np.ndarray:
    return np.full((height, width, 2), (dx, dy), np.float32)


INNER = (slice(16, -16), slice(16, -16))


@pytest.mark.parametrize("finest_scale", [0, 1])
def test_flow_of_a_moved_image_is_its_motion(finest_scale):
    image = texture()
    moved = np.roll(image, (2, 5), axis=(0, 1))
    ahead, back = DenseFlow(finest_scale).both_ways(image, moved)
    assert ahead.dtype == np.float32
    assert ahead.shape == (96, 128, 2)
    assert np.abs(ahead[INNER] - (5, 2)).max() < 0.5
    assert np.abs(back[INNER] + (5, 2)).max() < 0.5
    assert disagreement(ahead, back)[INNER].max() < 0.5


def test_flow_does_not_depend_on_the_number_of_threads():
    image, moved = texture(), np.roll(texture(), (1, 3), axis=(0, 1))
    threads = cv2.getNumThreads()
    flows = []
    try:
        for count in (1, 2, 5):
            cv2.setNumThreads(count)
            flows.append(DenseFlow().between(image, moved))
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(flows[0], flows[1])
    assert np.array_equal(flows[0], flows[2])


def test_an_estimator_remembers_nothing():
    image, moved = texture(), np.roll(texture(), (1, 3), axis=(0, 1))
    used = DenseFlow()
    used.between(texture(seed=1), texture(seed=2))
    assert np.array_equal(used.between(image, moved), DenseFlow().between(image, moved))


def test_frames_of_two_sizes_are_the_users_fault():
    with pytest.raises(UserError, match="128x96 and 64x96"):
        DenseFlow().between(texture(), texture(width=64))


def test_frames_too_small_for_flow_are_the_users_fault():
    with pytest.raises(UserError, match="at least 32 pixels a side, not 128x20"):
        DenseFlow(1).between(texture(height=20), texture(height=20))
    assert DenseFlow(0).between(texture(height=16), texture(height=16)).shape == (16, 128, 2)


def test_labels_are_read_from_the_nearest_pixel_and_are_255_outside():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    read = sample_labels(labels, constant(1.4, -0.6, 3, 4))
    assert read.tolist() == [[255, 255, 255, 255], [1, 2, 3, 255], [5, 6, 7, 255]]


def test_sampling_is_bilinear_and_goes_on_outside():
    values = np.tile(np.arange(4, dtype=np.float32), (3, 1))
    assert sample(values, constant(0.5, 0, 3, 4)).tolist() == [[0.5, 1.5, 2.5, 3.0]] * 3


def test_composition_adds_motions_where_they_lead():
    first = constant(3, 0)
    then = np.zeros_like(first)
    then[:, 64:] = (0, 7)
    composed = compose(first, then)
    assert composed[10, 30].tolist() == [3, 0]
    assert composed[10, 61].tolist() == [3, 7]


def test_disagreement_is_the_distance_by_which_a_round_trip_misses():
    assert disagreement(constant(3, 4), constant(-3, -4)).max() == 0
    assert np.allclose(disagreement(constant(3, 4), constant(0, 0)), 5)
    assert np.allclose(magnitude(constant(3, -4)), 5)
