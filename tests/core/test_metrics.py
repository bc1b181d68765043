import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fewframes.core import metrics
from fewframes.core.errors import UserError
from fewframes.core.metrics import (
    BOUNDARY_SHARE,
    accuracy_per_class,
    boundary_counts,
    boundary_iou,
    claimed,
    confusion_matrix,
    coverage,
    iou_per_class,
    mean,
)

CLASSES = 4
train_ids = st.sampled_from([0, 1, 2, 3, 255])
pairs = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=train_ids), hnp.arrays(np.uint8, shape, elements=train_ids)
    )
)


def naive_scores(truth: np.ndarray, prediction: np.ndarray, c: int) -> tuple[float, float]:
    """IoU and recall of a class, pixel by pixel: a false positive counts only on valid truth."""
    hit = miss = false = 0
    for t, p in zip(truth.ravel(), prediction.ravel(), strict=True):
        if t == 255:
            continue
        hit += t == c and p == c
        miss += t == c and p != c
        false += t != c and p == c
    iou = hit / (hit + miss + false) if hit + miss + false else math.nan
    return iou, hit / (hit + miss) if hit + miss else math.nan


@settings(max_examples=100)
@given(pairs)
def test_scores_equal_a_loop_over_pixels(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = pair
    confusion = confusion_matrix(truth, prediction, CLASSES)
    naive = np.array([naive_scores(truth, prediction, c) for c in range(CLASSES)])
    np.testing.assert_allclose(iou_per_class(confusion), naive[:, 0])
    np.testing.assert_allclose(accuracy_per_class(confusion), naive[:, 1])


@settings(max_examples=50)
@given(pairs)
def test_every_valid_pixel_is_counted_once(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = pair
    confusion = confusion_matrix(truth, prediction, CLASSES)
    valid = truth != 255
    assert confusion.shape == (CLASSES, CLASSES + 1)
    assert confusion.dtype == np.int64
    assert confusion.sum() == valid.sum()
    assert confusion[:, -1].sum() == (valid & (prediction == 255)).sum()
    np.testing.assert_array_equal(
        confusion, confusion_matrix(truth[::-1], prediction[::-1], CLASSES), "the order of pixels is nothing"
    )


@settings(max_examples=50)
@given(pairs, st.integers(1, 9))
def test_counting_in_parts_is_counting(pair: tuple[np.ndarray, np.ndarray], at_once: int) -> None:
    truth, prediction = pair
    loop = np.zeros((CLASSES, CLASSES + 1), np.int64)
    for t, p in zip(truth.ravel(), prediction.ravel(), strict=True):
        if t != 255:
            loop[t, min(p, CLASSES)] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_COUNTED_AT_ONCE", at_once)
        np.testing.assert_array_equal(confusion_matrix(truth, prediction, CLASSES), loop)


def test_pixels_picked_from_an_image_are_counted_too() -> None:
    truth, prediction = np.full((4, 6), 1, np.uint8), np.full((4, 6), 2, np.uint8)
    assert confusion_matrix(truth[::2, ::3], prediction[1::2, 1::3], 3)[1, 2] == 4
    assert confusion_matrix(truth[truth == 1], prediction[truth == 1], 3)[1, 2] == 24
    assert confusion_matrix(truth[truth == 0], prediction[truth == 0], 3).sum() == 0


def test_unclaimed_pixels_are_misses_unless_only_claimed_ones_count() -> None:
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    prediction = np.array([[0, 255, 1, 0]], np.uint8)
    confusion = confusion_matrix(truth, prediction, 2)
    np.testing.assert_array_equal(iou_per_class(confusion), [0.5, 1.0])
    np.testing.assert_array_equal(iou_per_class(claimed(confusion)), [1.0, 1.0])
    assert coverage(confusion) == pytest.approx(2 / 3)
    assert coverage(claimed(confusion)) == 1.0


def test_absent_classes_are_no_number_and_leave_the_mean() -> None:
    truth = np.zeros((2, 2), np.uint8)
    confusion = confusion_matrix(truth, np.array([[0, 0], [1, 1]], np.uint8), 3)
    np.testing.assert_array_equal(iou_per_class(confusion), [0.5, 0.0, np.nan])
    np.testing.assert_array_equal(accuracy_per_class(confusion), [0.5, np.nan, np.nan])
    assert mean(iou_per_class(confusion)) == 0.25


def test_nothing_valid_gives_no_number_and_no_warning() -> None:
    ignored = np.full((2, 2), 255, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion = confusion_matrix(ignored, ignored, 3)
        assert math.isnan(mean(iou_per_class(confusion)))
        assert math.isnan(coverage(confusion))


@pytest.mark.parametrize(("truth", "prediction", "named"), [(3, 0, "true label"), (0, 254, "predicted label")])
def test_a_stray_train_id_is_named(truth: int, prediction: int, named: str) -> None:
    with pytest.raises(UserError, match=f"{named} holds train id {max(truth, prediction)}"):
        confusion_matrix(np.array([[truth]], np.uint8), np.array([[prediction]], np.uint8), 3)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        confusion_matrix(np.zeros((1, 4), np.uint8), np.zeros((2, 2), np.uint8), 3)


def naive_band(mask: np.ndarray, reach: int) -> np.ndarray:
    """The members of a mask with a non-member, or nothing at all, in the square of `reach` around them."""
    height, width = mask.shape
    band = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        around = [(i, j) for i in range(y - reach, y + reach + 1) for j in range(x - reach, x + reach + 1)]
        band[y, x] = any(not (0 <= i < height and 0 <= j < width) or not mask[i, j] for i, j in around)
    return band


@settings(max_examples=60)
@given(pairs, st.sampled_from([0.0, 0.15, 0.3]))
def test_boundary_counts_equal_two_bands_mask_by_mask(pair: tuple[np.ndarray, np.ndarray], share: float) -> None:
    truth, prediction = pair
    reach = max(1, round(share * math.hypot(*truth.shape)))
    counts = boundary_counts(truth, prediction, CLASSES, share)
    assert counts.shape == (2, CLASSES) and counts.dtype == np.int64
    for c in range(CLASSES):
        true = naive_band(truth == c, reach)
        predicted = naive_band((prediction == c) & (truth != 255), reach)
        assert counts[:, c].tolist() == [(true & predicted).sum(), (true | predicted).sum()]


def square(top: int, left: int, side: int = 20) -> np.ndarray:
    label = np.zeros((60, 80), np.uint8)
    label[top : top + side, left : left + side] = 1
    return label


def test_boundary_iou_sees_an_outline_that_iou_hardly_sees() -> None:
    truth, prediction = square(10, 10, 40), square(11, 11, 38)
    assert iou_per_class(confusion_matrix(truth, prediction, 2))[1] == pytest.approx(38**2 / 40**2)
    counts = boundary_counts(truth, prediction, 2, share=0.02)  # of 100 pixels: bands of 2
    assert counts[:, 1].tolist() == [38**2 - 36**2, 40**2 - 34**2]
    assert boundary_iou(counts)[1] == pytest.approx(148 / 444)


def test_boundary_iou_is_that_of_masks_where_they_are_all_band() -> None:
    truth, prediction = square(10, 10), square(14, 12)
    by_mask = iou_per_class(confusion_matrix(truth, prediction, 2))[1]
    assert boundary_iou(boundary_counts(truth, prediction, 2, share=0.1))[1] == by_mask
    assert boundary_iou(boundary_counts(truth, prediction, 2, share=0.01))[1] < by_mask


def test_boundary_counts_of_images_add_up() -> None:
    one, other = (square(10, 10), square(12, 10)), (square(30, 50), square(30, 57))
    added = sum(boundary_counts(*pair, 2) for pair in (one, other))
    # Stacked with what is ignored between them, the two are one image with bands of the same width.
    gap = np.full((4, 80), 255, np.uint8)
    both = [np.vstack([a, gap, b]) for a, b in zip(one, other, strict=True)]
    np.testing.assert_array_equal(added, boundary_counts(*both, 2))


def test_what_is_predicted_where_truth_is_ignored_changes_no_boundary() -> None:
    truth = square(10, 10)
    truth[:, 40:] = 255
    plain, wild = truth.copy(), truth.copy()
    wild[:, 40:] = 1
    np.testing.assert_array_equal(boundary_counts(truth, wild, 2), boundary_counts(truth, plain, 2))
    np.testing.assert_array_equal(boundary_iou(boundary_counts(truth, wild, 2)), [1.0, 1.0])


def test_unclaimed_pixels_are_of_no_class_and_absent_classes_no_number() -> None:
    truth = square(10, 10)
    counts = boundary_counts(truth, np.full_like(truth, 255), 3)
    np.testing.assert_array_equal(boundary_iou(counts), [0.0, 0.0, np.nan])


def test_the_band_is_eleven_pixels_at_cityscapes_size() -> None:
    truth = np.zeros((1024, 2048), np.uint8)
    inner = (1024 - 2 * 11) * (2048 - 2 * 11)
    counts = boundary_counts(truth, truth, 1)
    assert BOUNDARY_SHARE == 0.005 and counts.tolist() == [[truth.size - inner]] * 2


@pytest.mark.parametrize(("truth", "prediction", "named"), [(3, 0, "true label"), (0, 254, "predicted label")])
def test_boundaries_of_a_stray_train_id_are_refused(truth: int, prediction: int, named: str) -> None:
    with pytest.raises(UserError, match=f"{named} holds train id {max(truth, prediction)}"):
        boundary_counts(np.array([[truth]], np.uint8), np.array([[prediction]], np.uint8), 3)
    with pytest.raises(ValueError, match="one shape"):
        boundary_counts(np.zeros((1, 4), np.uint8), np.zeros((2, 2), np.uint8), 3)
