import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from fewframes.core.errors import UserError
from fewframes.core.images import read_image, read_label
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.core.metrics import claimed, confusion_matrix, coverage, iou_per_class, mean
from fewframes.labelling.propagation import build_propagator

HEIGHT, WIDTH = 96, 160
CAMVID = Path(os.environ.get("FEWFRAMES_CAMVID", Path(__file__).parents[3] / "shared" / "data" / "camvid"))


def texture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def scene(x: int) -> tuple[np.ndarray, np.ndarray]:
    """A textured object of class 1, 40x40, whose left edge is at `x`, before a still background of class 0."""
    image, label = texture(0), np.zeros((HEIGHT, WIDTH), np.uint8)
    image[30:70, x : x + 40] = texture(1, 40, 40)
    label[30:70, x : x + 40] = 1
    return image, label


def build(method, settings):
    return build_propagator(method, settings, load_class_table("camvid"))


def propagated(label, frames, method="flow", **settings):
    return list(build(method, settings).carry(label, iter(frames)))


def test_labels_move_with_their_object():
    frames, truths = zip(*(scene(30 + 3 * t) for t in range(6)), strict=True)
    results = propagated(truths[0], frames)
    assert len(results) == 5
    for result, truth in zip(results, truths[1:], strict=True):
        sure = result.label != IGNORE
        assert (result.label == truth)[sure].mean() > 0.99
        moved = (result.label == 1) & (truth == 1)
        assert moved.sum() > 0.9 * (truth == 1).sum()


def test_a_whole_picture_that_moves_takes_its_labels_along_exactly():
    wide = texture(3, HEIGHT, WIDTH + 40)
    labels = np.zeros((HEIGHT, WIDTH + 40), np.uint8)
    labels[:, 70:110] = 4
    labels[40:, 110:] = 7
    frames = [wide[:, 4 * t : 4 * t + WIDTH] for t in range(5)]
    last = propagated(labels[:, :WIDTH], frames)[-1].label
    known = (slice(8, -8), slice(8, WIDTH - 24))
    assert (last[known] == labels[:, 16 : 16 + WIDTH][known]).mean() > 0.995


def test_a_picture_that_grows_takes_its_labels_along():
    image = texture(4, HEIGHT, WIDTH)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[30:60, 50:110] = 2

    def zoomed(picture, t, interpolation):
        matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), 0, 1.03**t)
        return cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=interpolation)

    frames = [zoomed(image, t, cv2.INTER_LINEAR) for t in range(6)]
    last = propagated(labels, frames)[-1].label
    truth = zoomed(labels, 5, cv2.INTER_NEAREST)
    sure = last != IGNORE
    assert sure.mean() > 0.9
    assert (last == truth)[sure].mean() > 0.98


def test_what_is_uncovered_behind_an_object_does_not_get_its_label():
    frames, truths = zip(*(scene(30 + 6 * t) for t in range(5)), strict=True)
    label = propagated(truths[0], frames)[-1].label
    uncovered = (truths[0] == 1) & (truths[-1] == 0)
    assert uncovered.sum() > 500
    assert (label[uncovered] == 1).mean() < 0.05


def test_confidence_is_lost_where_an_object_appears():
    before, label = scene(30)
    label[:, 100:] = 3  # a boundary runs through where the object appears
    after = before.copy()
    after[20:80, 85:115] = texture(9, 60, 30)
    result = propagated(label, [before, after])[0]
    confidence = result.maps["confidence"].astype(float)
    assert (result.label[20:80, 97:103] == IGNORE).mean() > 0.6
    assert confidence[20:80, 85:115].mean() < 150
    assert confidence[:, 130:].mean() > 240


def test_ignore_stays_ignore_and_the_outside_is_never_claimed():
    wide = texture(5, HEIGHT, WIDTH + 40)
    label = np.full((HEIGHT, WIDTH), 2, np.uint8)
    label[:, 60:80] = IGNORE
    frames = [wide[:, 4 * t : 4 * t + WIDTH] for t in range(5)]
    result = propagated(label, frames)[-1]
    assert (result.label[:, 46:62] == IGNORE).all()
    assert (result.label[10:-10, -14:] == IGNORE).mean() > 0.9
    assert (result.label[10:-10, :40] == 2).mean() > 0.99
    assert (result.maps["confidence"][result.label == IGNORE] == 0).all()


def test_confidence_is_higher_where_labels_are_right():
    frames, truths = zip(*(scene(30 + 6 * t) for t in range(5)), strict=True)
    result = propagated(truths[0], frames, max_disagreement=1e6)[-1]
    right = result.label == truths[-1]
    confidence = result.maps["confidence"]
    assert confidence.dtype == np.uint8
    assert confidence[right].mean() > confidence[~right].mean() + 60


def test_a_change_of_exposure_alone_unclaims_nothing():
    image, label = scene(30)
    image = image // 2 + 40
    darker = image - 30
    plain = propagated(label, [image, image])[0].label
    changed = propagated(label, [image, darker])[0].label
    assert (plain == label).all()
    assert (changed == label).mean() > 0.99


def test_a_lower_colour_tolerance_claims_fewer_pixels():
    frames, truths = zip(*(scene(30 + 6 * t) for t in range(4)), strict=True)
    shares = [(propagated(truths[0], frames, colour_tolerance=t)[-1].label != IGNORE).mean() for t in (2, 15, 100)]
    assert shares == sorted(shares)
    assert shares[0] < shares[2]


@pytest.mark.parametrize("method", ["flow", "copy"])
def test_a_frame_is_read_only_when_its_result_is_asked_for(method):
    image, label = scene(30)
    read = []

    def frames():
        for t in range(5):
            read.append(t)
            yield image

    results = build(method, {}).carry(label, frames())
    assert read == []
    next(results)
    assert read == [0, 1]
    next(results)
    assert read == [0, 1, 2]
    assert len(list(results)) == 2


@pytest.mark.parametrize("method", ["flow", "copy"])
def test_a_key_frame_without_neighbours_gives_nothing(method):
    image, label = scene(30)
    assert propagated(label, [image], method) == []


def test_equal_clips_get_equal_labels_with_any_number_of_threads():
    frames, truths = zip(*(scene(30 + 3 * t) for t in range(4)), strict=True)
    threads = cv2.getNumThreads()
    results = []
    try:
        for count in (1, 2):
            cv2.setNumThreads(count)
            results.append(propagated(truths[0], frames))
    finally:
        cv2.setNumThreads(threads)
    for one, two in zip(*results, strict=True):
        assert np.array_equal(one.label, two.label)
        assert np.array_equal(one.maps["confidence"], two.maps["confidence"])


def test_copies_are_the_label_and_no_two_share_memory():
    image, label = scene(30)
    first, second = propagated(label, [image] * 3, "copy")
    first.label[:] = 9
    assert np.array_equal(second.label, label)
    assert label.max() == 1


def test_unknown_methods_and_settings_are_named():
    with pytest.raises(UserError, match=r"method 'flwo' is unknown: choose one of sam2, flow, copy"):
        build("flwo", {})
    with pytest.raises(UserError, match=r"'tolerance' is not a setting of propagation 'flow': choose among max_dis"):
        build("flow", {"tolerance": 1})
    with pytest.raises(UserError, match=r"'max_disagreement' is not a setting of propagation 'copy': it has none"):
        build("copy", {"max_disagreement": 1})
    with pytest.raises(UserError, match=r"'colour_tolerance' of propagation 'flow' is 0.0: give at least 1.0"):
        build("flow", {"colour_tolerance": 0})
    with pytest.raises(UserError, match=r"'finest_scale' of propagation 'flow' is 0.5: give a whole number"):
        build("flow", {"finest_scale": 0.5})


@pytest.mark.skipif(not (CAMVID / "val15hz").is_dir(), reason="no CamVid: set FEWFRAMES_CAMVID")
def test_flow_beats_copying_on_camvid():
    table = load_class_table("camvid")
    names = sorted(p.name for p in (CAMVID / "val15hz").glob("*.png"))

    def label(i):
        file = CAMVID / "val15hzannot" / names[i]
        return table.to_train_ids(read_label(file), file)

    by_flow = np.zeros((11, 12), np.int64)
    by_copy = np.zeros((11, 12), np.int64)
    for key, target in ((10, 15), (10, 5), (30, 35), (30, 25)):
        step = 1 if target > key else -1
        frames = (read_image(CAMVID / "val15hz" / names[i]) for i in range(key, target + step, step))
        *_, last = build("flow", {}).carry(label(key), frames)
        truth = label(target)
        by_flow += confusion_matrix(truth, last.label, 11)
        by_copy += confusion_matrix(np.where(last.label == IGNORE, np.uint8(IGNORE), truth), label(key), 11)
    # the floors of issue 1: 78 mIoU on 85 % of the pixels, 68.7 with the unclaimed counted wrong
    assert mean(iou_per_class(claimed(by_flow))) > 0.79
    assert mean(iou_per_class(claimed(by_flow))) > mean(iou_per_class(claimed(by_copy))) + 0.2
    assert mean(iou_per_class(by_flow)) > 0.687
    assert coverage(by_flow) > 0.8
