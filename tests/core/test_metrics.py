import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fewframes.core.errors import UserError
from fewframes.core.metrics import (
    accuracy_per_class,
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


@settings(max_examples=100, deadline=None)
@given(pairs)
def test_scores_equal_a_loop_over_pixels(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = pair
    confusion = confusion_matrix(truth, prediction, CLASSES)
    naive = np.array([naive_scores(truth, prediction, c) for c in range(CLASSES)])
    np.testing.assert_allclose(iou_per_class(confusion), naive[:, 0])
    np.testing.assert_allclose(accuracy_per_class(confusion), naive[:, 1])


@settings(max_examples=50, deadline=None)
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
