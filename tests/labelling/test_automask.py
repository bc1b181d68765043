"""`automask`: its masks are the official generator's, and which of them become labels."""

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.utils import amg
from torchvision.ops import nms

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.labelling.models.sam2 import build_model
from fewframes.labelling.refinement import CoarseImage, build_refiner
from fewframes.labelling.refinement.automask import refined_by
from fewframes.labelling.refinement.automasks import generator as generators
from fewframes.labelling.refinement.automasks.filters import candidates, distinct
from fewframes.labelling.refinement.automasks.generator import MaskGenerator
from fewframes.labelling.refinement.automasks.masks import Mask
from fewframes.labelling.refinement.automasks.settings import AutomaskSettings

CLASSES = load_class_table("cityscapes")
SIDE = 128
HEIGHT, WIDTH = 64, 128
ROAD, CAR, SKY = (CLASSES.names.index(name) for name in ("road", "car", "sky"))
RANDOM = {"weights": "random", "config": "small", "image_size": 64, "seed": 1}
# Random weights: no mask would pass the defaults.
LENIENT = {"points_per_side": 3, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model():
    """Random weights, made livelier: logits so far from 0 that some masks are stable."""
    model = build_model("small", image_size=SIDE, seed=1)
    for head in model.sam_mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.mul_(300)
    return model


class Ellipses:
    """A hook on the decoder: in place of what it made, masks as of objects, three at each point of a grid.

    Neighbouring points have nearly the same ones; predicted IoU and stability are such that about half pass.
    """

    def __init__(self, per_side):
        self.per_side, self.next = per_side, 0

    def __call__(self, _module, _positional, made):
        points = range(self.next, self.next + len(made[0]))
        self.next = points.stop % self.per_side**2
        side = made[0].shape[-1]
        masks = [self.mask(number, cells, side) for number in points for cells in (8, 4, 1)]
        logits, iou = zip(*masks, strict=True)
        shape = len(points), 3
        return torch.stack(logits).view(*shape, side, side), torch.tensor(iou).view(shape), *made[2:]

    def mask(self, number, cells, side):
        of_point = np.random.default_rng(number)
        y, x = (np.array(divmod(number, self.per_side)) + 0.5) / self.per_side
        row, column = int(y * cells), int(x * cells)
        of_object = np.random.default_rng((row, column, cells))
        top, left = (np.array([row, column]) + of_object.random(2)) / cells
        radii = of_object.uniform(0.2, 0.9, 2) / cells * (1 + 0.05 * of_point.normal(size=2))
        down, across = np.mgrid[:side, :side] / side
        logits = of_point.lognormal(4, 1) * (1 - np.hypot((down - top) / radii[0], (across - left) / radii[1]))
        return torch.from_numpy(logits.astype(np.float32)), float(of_point.normal(0.8, 0.12))


def picture(size):
    coarse = np.random.default_rng(0).integers(0, 256, (9, 18, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def officially(model, image, **thresholds):
    official = SAM2AutomaticMaskGenerator(model, **thresholds)
    # It knows the sizes of a model of 1024 pixels only.
    official.predictor._bb_feat_sizes = [(model.image_size // part,) * 2 for part in (4, 8, 16)]
    return official.generate(image)


def check_equal(ours, official, size):
    assert len(ours) == len(official)
    for mine, other in zip(ours, official, strict=True):
        assert np.array_equal(whole(mine, size), other["segmentation"])
        left, top, width, height = other["bbox"]
        assert mine.box.tolist() == [left, top, left + width, top + height]
        assert mine.area == other["area"] == mine.pixels().sum()
        assert mine.predicted_iou == other["predicted_iou"]


def whole(mask, size):
    pixels = np.zeros(size, bool)
    pixels[mask.window] = mask.pixels()
    return pixels


# A cell of the low-resolution logits is 2 to 8 pixels, a fraction, or less than a pixel.
@pytest.mark.parametrize("size", [(128, 256), (100, 230), (20, 50)])
@pytest.mark.parametrize(
    "thresholds",
    [{}, {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.8, "stability_score_offset": 2, "box_nms_thresh": 0.9}],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_masks_are_those_of_the_official_generator(model, size, thresholds):
    thresholds = {"points_per_side": 12, **thresholds}
    model.sam_mask_decoder.register_forward_hook(Ellipses(12))
    official = officially(model, picture(size), **thresholds)
    ours = MaskGenerator(model, AutomaskSettings(**thresholds), max_batch=64).generate(picture(size))
    check_equal(ours, official, size)
    assert 10 < len(ours) < 432


@pytest.mark.parametrize("size", [(128, 256), (100, 230)])
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_what_the_network_makes_is_what_the_official_generator_has_it_make(model, size):
    thresholds = {"points_per_side": 6, "stability_score_thresh": 0.5, "box_nms_thresh": 1.0}
    everything = officially(model, picture(size), pred_iou_thresh=0.0, **thresholds)
    thresholds["pred_iou_thresh"] = float(np.median([mask["predicted_iou"] for mask in everything]))
    official = officially(model, picture(size), **thresholds)
    ours = MaskGenerator(model, AutomaskSettings(**thresholds), max_batch=64).generate(picture(size))
    check_equal(ours, official, size)
    assert len({mask.area for mask in ours}) > 20


def test_neither_batch_nor_precision_of_the_network_nor_early_settling_changes_the_filters(model, monkeypatch):
    settings = AutomaskSettings(points_per_side=8)
    model.sam_mask_decoder.register_forward_hook(Ellipses(8))
    expected = MaskGenerator(model, settings, max_batch=64).generate(picture((128, 256)))
    assert MaskGenerator(model, settings, max_batch=5).generate(picture((128, 256))) == expected
    assert MaskGenerator(model, settings, bfloat16=True).generate(picture((128, 256))) == expected
    monkeypatch.setattr(generators, "_HELD", 0)
    assert MaskGenerator(model, settings).generate(picture((128, 256))) == expected


@given(
    seed=st.integers(0, 10**6),
    cells=st.sampled_from([4, 7, 16]),
    size=st.tuples(st.integers(3, 70), st.sampled_from([3, 33, 64, 80, 128])),
    whole_numbers=st.booleans(),
    stability=st.sampled_from([0.0, 0.3, 0.6, 0.9]),
    overlap=st.sampled_from([0.3, 0.7, 1.0]),
)
@hypothesis_settings(max_examples=100, derandomize=True)
def test_filters_pass_what_passes_when_all_is_upsampled(seed, cells, size, whole_numbers, stability, overlap):
    rng = np.random.default_rng(seed)
    low = torch.from_numpy(rng.normal(rng.normal(size=(12, 1, 1)), 4, (12, cells, cells)).astype(np.float32))
    if whole_numbers:  # then many pixels are 0 or 1 but for rounding
        low = low.round()
    low[0] = low[:6, : cells // 3] = low[:6, :, : cells // 3] = -9  # nothing at all, and windows
    low = torch.cat([low, low + 0.1 * torch.from_numpy(rng.normal(size=low.shape).astype(np.float32))])
    iou = torch.from_numpy(rng.permutation(len(low)).astype(np.float32) / len(low))
    settings = AutomaskSettings(stability_score_thresh=stability, box_nms_thresh=overlap)
    found = candidates(low, iou, size, settings)
    ours = distinct(found, settings)

    full = F.interpolate(low[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    stable = amg.calculate_stability_score(full, 0.0, 1.0)
    passed = torch.nonzero(stable >= stability if stability else torch.ones(len(low)))[:, 0]
    kept = passed[nms(amg.batched_mask_to_box(full[passed] > 0).float(), iou[passed], overlap)]
    assert [mask.predicted_iou for mask in ours] == iou[kept].tolist()
    for mask, number in zip(ours, kept, strict=True):
        assert np.array_equal(whole(mask, size), (full[number] > 0).numpy())
    for one in found:
        mask = one.settled(settings)
        if mask is not None and mask.area:
            assert (one.outer[:2] <= mask.box[:2]).all() and (mask.box[2:] <= one.outer[2:]).all()
            if one.inner.any():
                assert (mask.box[:2] <= one.inner[:2]).all() and (one.inner[2:] <= mask.box[2:]).all()


@pytest.mark.parametrize("scale", [1, 2, 3, 5, 8])
def test_masks_are_upsampled_in_their_windows_to_the_bit_as_they_are_whole(scale):
    low = torch.from_numpy((4 * np.random.default_rng(0).normal(size=(50, 16, 16))).round().astype(np.float32))
    low[:, :, :5] = -9  # whole numbers: many pixels are 0 but for rounding
    size = 16 * scale, 16 * scale
    settings = AutomaskSettings(stability_score_thresh=0.0)
    full = F.interpolate(low[:, None], size, mode="bilinear", align_corners=False)[:, 0] > 0
    for one, expected in zip(candidates(low, torch.ones(50), size, settings), full, strict=True):
        assert np.array_equal(whole(one.settled(settings), size), expected.numpy())


def test_duplicates_of_large_masks_are_never_upsampled(monkeypatch):
    down, across = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    disc = 4 * (24 - torch.hypot(down - 32, across - 32))
    settings = AutomaskSettings()
    found = candidates(torch.stack([disc, disc + 0.5, disc + 1]), torch.tensor([0.9, 0.8, 0.7]), (512, 1024), settings)
    upsampled = []
    interpolate = F.interpolate
    monkeypatch.setattr(F, "interpolate", lambda x, *rest, **how: upsampled.append(x) or interpolate(x, *rest, **how))
    assert len(distinct(found, settings)) == len(upsampled) == 1
    assert upsampled[0].shape[-1] < 60  # in its window


def test_unsteady_masks_are_no_candidates():
    faint = torch.full((1, 16, 16), 0.5)
    assert not candidates(faint, torch.ones(1), (64, 64), AutomaskSettings())
    assert not candidates(-10 * torch.ones(1, 16, 16), torch.ones(1), (64, 64), AutomaskSettings())
    assert candidates(10 * torch.ones(1, 16, 16), torch.ones(1), (64, 64), AutomaskSettings())


def test_what_the_network_cannot_do_is_said_in_a_sentence(model, monkeypatch):
    settings = AutomaskSettings(points_per_side=2)
    model.sam_mask_decoder.iou_prediction_head.layers[-1].bias.fill_(float("nan"))
    with pytest.raises(UserError, match=r"refinement 'automask' gives no finite numbers: set its precision"):
        MaskGenerator(model, settings).generate(picture((64, 64)))

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(MaskGenerator, "_decode", full)
    with pytest.raises(
        UserError, match=r"does not suffice for 7 points at a time: give the job more, or set max_batch"
    ):
        MaskGenerator(model, settings, max_batch=7).generate(picture((64, 64)))


def box(top, left, height, width, iou=0.9):
    return Mask.cut(np.ones((height, width), bool), top, left, iou)


def coarse_label():
    """Unlabelled but for ten rows of ten labelled pixels, from row 5, column 10 on: road, one car pixel in the last."""
    coarse = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    coarse[5:15, 10:20] = ROAD
    coarse[14, 19] = CAR
    return coarse


def test_a_mask_is_taken_whole_where_more_than_nine_tenths_of_its_labelled_pixels_agree():
    coarse = coarse_label()
    tenth = box(14, 10, 20, 10)  # nine road pixels, one car, nineteen rows unlabelled
    less = box(13, 10, 20, 10)  # nineteen to one
    refined = refined_by([tenth], coarse, AutomaskSettings())
    assert np.array_equal(refined.label, coarse)
    assert refined.counts == {"accepted": 0, "mixed": 1, "unlabelled": 0}
    refined = refined_by([tenth, less], coarse, AutomaskSettings())
    expected = coarse.copy()
    expected[13:33, 10:20] = ROAD  # the car pixel too
    assert np.array_equal(refined.label, expected)
    assert refined.counts == {"accepted": 1, "mixed": 1, "unlabelled": 0}
    assert {name: column.tolist() for name, column in refined.objects.items()} == {
        "train_id": [ROAD],
        "area": [200],
        "labelled": [20],
        "purity": pytest.approx([0.95]),
        "predicted_iou": pytest.approx([0.9]),
    }
    assert np.array_equal(refined.maps["mask"] == 0, whole(less, coarse.shape))
    assert refined_by([tenth], coarse, AutomaskSettings(purity=0.89)).counts["accepted"] == 1


def test_a_mask_must_hold_labelled_pixels():
    coarse = coarse_label()
    alone, corner, empty = box(40, 60, 20, 20), box(1, 1, 6, 11), Mask.cut(np.zeros((4, 4), bool), 0, 0, 0.9)
    refined = refined_by([alone, corner, empty], coarse, AutomaskSettings())  # the corner holds four
    assert refined.counts == {"accepted": 1, "mixed": 0, "unlabelled": 2}
    refined = refined_by([alone, corner, empty], coarse, AutomaskSettings(min_labelled=5))
    assert refined.counts == {"accepted": 0, "mixed": 0, "unlabelled": 3}
    assert np.array_equal(refined.label, coarse)


@pytest.mark.parametrize(("order", "seen"), [("smallest_last", CAR), ("predicted_iou", ROAD)])
def test_where_accepted_masks_overlap_the_order_decides(order, seen):
    coarse = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    coarse[:, 60:] = ROAD
    coarse[30, 20] = CAR
    coarse[60, 20] = SKY
    large, small = box(0, 15, 55, WIDTH - 15, 0.95), box(20, 10, 20, 20, 0.85)
    for masks in ([large, small], [small, large]):
        label = refined_by(masks, coarse, AutomaskSettings(order=order)).label
        assert label[30, 20] == seen  # in both
        assert (label[30, 12], label[5, 30], label[60, 20]) == (CAR, ROAD, SKY)


@st.composite
def labels_and_masks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    size = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    coarse = rng.choice([ROAD, CAR, SKY, IGNORE], size, p=[0.5, 0.05, 0.05, 0.4]).astype(np.uint8)
    masks = [
        Mask.cut(rng.random(size) < rng.random() * (rng.random(size[1]) < 0.7), 0, 0, rng.random())
        for _ in range(draw(st.integers(0, 8)))
    ]
    return coarse, masks


@given(labels_and_masks(), st.sampled_from([0.0, 0.5, 0.8, 0.9]), st.integers(1, 5), st.sampled_from(["a", "b"]))
@hypothesis_settings(max_examples=80, derandomize=True)
def test_pixels_outside_accepted_masks_keep_their_label(drawn, purity, min_labelled, order):
    coarse, masks = drawn
    before = coarse.copy()
    order = {"a": "smallest_last", "b": "predicted_iou"}[order]
    settings = AutomaskSettings(purity=purity, min_labelled=min_labelled, order=order)
    refined = refined_by(masks, coarse, settings)
    assert np.array_equal(coarse, before)
    accepted = []
    for mask in masks:
        inside = coarse[whole(mask, coarse.shape)]
        labelled = inside[inside != IGNORE]
        classes, counts = np.unique(labelled, return_counts=True)
        if len(labelled) >= min_labelled and counts.max() / len(labelled) > purity:
            accepted.append((mask, classes[counts.argmax()]))
    assert refined.counts["accepted"] == len(accepted) == len(refined.objects["train_id"])
    assert sum(refined.counts.values()) == len(masks)
    accepted.sort(key=lambda a: a[0].predicted_iou if order == "predicted_iou" else -a[0].area)
    claimed = np.zeros(coarse.shape, bool)
    for mask, _ in accepted:
        claimed |= whole(mask, coarse.shape)
    assert np.array_equal(refined.label[~claimed], coarse[~claimed])
    assert np.array_equal(refined.maps["mask"] < 0, ~claimed)
    of_mask = refined.objects["train_id"][refined.maps["mask"][claimed]]
    assert np.array_equal(refined.label[claimed], of_mask)
    if len({mask.area for mask, _ in accepted}) == len(accepted):  # else equal areas go by predicted IoU
        for mask, train_id in accepted[-1:]:
            assert (refined.label[whole(mask, coarse.shape)] == train_id).all()


def test_a_mask_of_the_whole_image_and_thousands_of_masks_take_little_memory():
    size = 1024, 2048
    coarse = np.full(size, ROAD, np.uint8)
    everything = box(0, 0, *size)
    assert len(everything.bits) < 2000
    refined = refined_by(
        [everything] + [box(7 * n % 1000, n % 2000, 9, 9) for n in range(3000)], coarse, AutomaskSettings()
    )
    assert refined.counts["accepted"] == 3001
    assert np.array_equal(refined.label, coarse)
    down, across = np.mgrid[: size[0], : size[1]]
    stripes = Mask.cut((down // 8 + across // 8) % 2 == 0, 0, 0, 0.9)  # as ragged as logits of 256 cells a side can be
    assert len(stripes.bits) < 30_000
    assert stripes.area == stripes.pixels().sum() == 2**20


def images(folder, *coarse):
    found = []
    for number, label in enumerate(coarse):
        Image.fromarray(picture((HEIGHT, WIDTH))).save(folder / f"{number}.png")
        found.append(CoarseImage(str(number), folder / f"{number}.png", label, None))
    return found


def refiner(settings=None, housekeeping=None):
    run = {"device": "cpu", "threads": 1, **(housekeeping or {})}
    return build_refiner("automask", {**RANDOM, **LENIENT, **(settings or {})}, CLASSES, run)


def test_images_are_refined_one_after_another_with_random_weights(tmp_path):
    coarse = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    coarse[20:40, 30:90] = CAR
    one = refiner()
    assert one.random_weights and one.settings["weights"] == "random"
    assert one.settings["points_per_side"] == 3 and one.settings["purity"] == 0.9
    assert not one.settings.keys() & {"max_batch", "device", "threads", "weights_folder"}
    results = dict(one.refine_all(images(tmp_path, coarse, np.full_like(coarse, SKY))))
    assert list(results) == [0, 1]
    assert one.notes["device"] == "processor" and one.notes["precision"] == "float32"
    assert results[0].counts["accepted"] >= 1 and (results[0].label == CAR).sum() > (coarse == CAR).sum()
    assert set(np.unique(results[0].label)) <= {CAR, IGNORE}
    assert (results[1].label == SKY).all()
    again = dict(refiner(housekeeping={"max_batch": 9}).refine_all(images(tmp_path, coarse)))
    assert np.array_equal(again[0].label, results[0].label)


def test_an_image_without_a_labelled_pixel_is_not_looked_at(tmp_path):
    script = (
        "import sys, numpy as np, pathlib\n"
        "from fewframes.core.labels import load_class_table\n"
        "from fewframes.labelling.refinement import CoarseImage, build_refiner\n"
        f"refiner = build_refiner('automask', {RANDOM | LENIENT}, load_class_table('cityscapes'))\n"
        "image = CoarseImage('a', pathlib.Path('none.png'), np.full((4, 6), 255, np.uint8), None)\n"
        "[(position, refined)] = refiner.refine_all([image])\n"
        "assert position == 0 and (refined.label == 255).all() and refined.label is not image.coarse\n"
        "assert refined.counts == {'accepted': 0, 'mixed': 0, 'unlabelled': 0}\n"
        "assert refined.maps['mask'].shape == (4, 6) and len(refined.objects['area']) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_an_image_of_another_size_than_its_label_is_refused(tmp_path):
    [one] = images(tmp_path, np.full((HEIGHT, WIDTH), ROAD, np.uint8))
    other = replace(one, coarse=np.full((HEIGHT, WIDTH // 2), ROAD, np.uint8))
    with pytest.raises(UserError, match=r"0\.png is 128x64 but its coarse label is 64x64"):
        list(refiner().refine_all([other]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": 3}, r"'points' is not a setting of refinement 'automask': choose among weights"),
        ({"purity": 1.0}, r"'purity' of refinement 'automask' is 1.0: give a share from 0 to below 1"),
        ({"purity": float("nan")}, r"'purity' of refinement 'automask' is nan: give a share"),
        ({"pred_iou_thresh": 1.2}, r"'pred_iou_thresh' of refinement 'automask' is 1.2: give a share from 0 to 1"),
        ({"points_per_side": 0}, r"'points_per_side' of refinement 'automask' is 0: give at least 1"),
        ({"stability_score_offset": -1}, r"'stability_score_offset' of refinement 'automask' is -1.0: give at least 0"),
        ({"stability_score_offset": float("inf")}, r"'stability_score_offset' .* is inf: give a finite number"),
        ({"min_labelled": 0}, r"'min_labelled' of refinement 'automask' is 0: give at least 1"),
        ({"order": "largest"}, r"'order' of .* is 'largest': choose one of smallest_last, predicted_iou"),
        ({"weights": "sam_vit_b"}, r"sam_vit_b .*segment-anything.*set refinement\.automask\.weights to one of sam2"),
        ({"config": ""}, r"Random weights have no configuration of their own: set refinement\.automask\.config"),
    ],
)
def test_settings_that_are_none_are_refused_by_name(settings, message):
    with pytest.raises(UserError, match=message):
        refiner(settings)


def test_housekeeping_is_refused_by_name_too():
    with pytest.raises(UserError, match=r"'device' of refinement 'automask' is 'tpu': choose one of auto, cpu, cuda"):
        refiner(housekeeping={"device": "tpu"})
    with pytest.raises(UserError, match=r"'max_batch' of refinement 'automask' is -1: give at least 0"):
        refiner(housekeeping={"max_batch": -1})
