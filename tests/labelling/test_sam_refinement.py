"""The methods that prompt SAM: what they ask of it, what becomes of its masks, and what is refused."""

import csv
import subprocess
import sys
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything import SamPredictor

from fewframes.core.clips import Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.labelfile import read_layer, read_provenance
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.labelling.methods import RANDOM_WEIGHTS
from fewframes.labelling.models.sam import build_model
from fewframes.labelling.refinement import CoarseImage, build_refiner
from fewframes.labelling.refinement.driver import refine_shard
from fewframes.labelling.refinement.sam.contract import Decoded
from fewframes.labelling.refinement.sam.painting import Canvas
from fewframes.labelling.refinement.sam.prompts import random_points
from fewframes.labelling.refinement.sam.refiner import SamRefiner
from fewframes.labelling.things import find_things

CLASSES = load_class_table("cityscapes")
ROAD, SKY, POLE, PERSON, CAR, BUS = map(CLASSES.names.index, ("road", "sky", "pole", "person", "car", "bus"))
HEIGHT, WIDTH = 48, 80
RANDOM = {"weights": "random", "config": "small", "seed": 1}
HERE = {"device": "cpu", "threads": 1}
METHODS = ("sam_points", "sam_points_guarded", "sam_box")


class ByColour:
    """A segmenter that takes all pixels of the colour under the first point for the object.

    Of three masks, the second is that, and the others are nothing and all. It estimates each as `iou`, or better by the
    object's red (0 to 255) than 0.5. Logits are maps of the image itself.
    """

    def __init__(self, change=lambda mask: mask):
        self.embedded, self.calls, self._change = [], [], change

    def embed(self, images):
        self.embedded.append(len(images))
        return images

    def views(self, embedding, boxes):
        return np.zeros(len(boxes), np.intp)

    def lowered(self, embedding, masks, views=None):
        return torch.from_numpy(np.stack(list(masks)).astype(np.float32))

    def decode(self, image, prompts, multimask):
        self.calls.append((prompts, multimask))
        x, y = prompts.points[:, 0].astype(int).T
        masks = np.stack([self._change((image == image[b, a]).all(axis=-1)) for a, b in zip(x, y, strict=True)])
        iou = torch.from_numpy(0.5 + image[y, x, 0] / 512).float()[:, None]
        logits = torch.from_numpy(masks * 2.0 - 1).float()[:, None]
        if multimask:
            logits = torch.cat([-torch.ones_like(logits), logits, torch.ones_like(logits)], dim=1)
            iou = torch.cat([iou - 0.2, iou, iou - 0.1], dim=1)
        return Decoded(logits, iou, prompts.views)

    def upsampled(self, image, logits, views=None):
        yield from (logits > 0).numpy()


@pytest.fixture
def by_colour(monkeypatch):
    """Have a segmenter by colour (or another) in place of SAM."""

    def take(segmenter=None, images_at_once=1):
        segmenter = segmenter or ByColour()
        ready = SimpleNamespace(segmenter=segmenter, images_at_once=images_at_once, notes={})
        monkeypatch.setattr(SamRefiner, "_set_up", lambda _: ready)
        return segmenter

    return take


def box(top, left, height, width):
    return slice(top, top + height), slice(left, left + width)


@pytest.fixture
def street(tmp_path):
    """An image file of a plain car, pole and person before road, each of a colour, and its coarse label."""
    picture, coarse = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    coarse[36:, :] = ROAD
    things = {CAR: box(20, 10, 20, 30), POLE: box(4, 50, 36, 4), PERSON: box(16, 60, 24, 10)}
    for number, (train_id, window) in enumerate(things.items()):
        picture[window] = (200 - 40 * number, 10 * number, 30)
        rows, columns = window
        inner = slice(rows.start + 4, rows.stop - 6), slice(columns.start + 1, columns.stop - 1)
        coarse[inner] = train_id
    path = tmp_path / "street.png"
    Image.fromarray(picture).save(path)
    return SimpleNamespace(path=path, picture=picture, coarse=coarse, things=things)


def one_image(street, name="a", coarse=None, instances=None):
    return CoarseImage(name, street.path, street.coarse if coarse is None else coarse, instances)


def refiner(method="sam_points", **settings):
    return build_refiner(method, RANDOM | settings, CLASSES, HERE)


def refine(image, method="sam_points", **settings):
    (found,) = refiner(method, **settings).refine_all([image])
    assert found[0] == 0
    return found[1]


@pytest.mark.parametrize("method", METHODS)
def test_objects_get_the_outlines_that_the_segmenter_finds(street, by_colour, method):
    by_colour()
    made = refine(one_image(street), method, multimask="first")
    expected = street.coarse.copy()
    for train_id, window in street.things.items():
        expected[window] = train_id
    np.testing.assert_array_equal(made.label, expected)
    assert made.counts == {"refined": 3, "kept": 0}
    assert made.objects["train_id"].tolist() == [POLE, PERSON, CAR]
    assert made.objects["kept"].tolist() == [0, 0, 0]
    np.testing.assert_allclose(made.objects["area_ratio"], [144 / 52, 240 / 112, 600 / 280], rtol=1e-6)
    np.testing.assert_allclose(made.objects["predicted_iou"], 0.5 + np.array([160, 120, 200]) / 512, rtol=1e-6)
    dtypes = {name: column.dtype for name, column in made.objects.items()}
    assert dtypes == {"train_id": np.uint8, "predicted_iou": np.float32, "area_ratio": np.float32, "kept": np.uint8}
    owner = made.maps["object"]
    assert owner.dtype == np.int16
    is_thing = np.isin(made.label, list(street.things))
    np.testing.assert_array_equal(owner >= 0, is_thing)
    np.testing.assert_array_equal(made.objects["train_id"][owner[is_thing]], made.label[is_thing])


@pytest.mark.parametrize(
    ("multimask", "iterations", "three"),
    [
        ("first", 2, [True, False, False]),
        ("never", 2, [False] * 3),
        ("always", 2, [True] * 3),
        ("first", 0, [True]),
        ("always", 1, [True, True]),
    ],
)
def test_every_iteration_has_the_same_points_and_the_mask_before(street, by_colour, multimask, iterations, three):
    fake = by_colour()
    refine(one_image(street), multimask=multimask, iterations=iterations)
    assert [many for _, many in fake.calls] == three
    first = fake.calls[0][0]
    assert first.masks is None and first.boxes is None and first.inside.all() and first.points.shape == (3, 2, 2)
    for prompts, _ in fake.calls[1:]:
        np.testing.assert_array_equal(prompts.points, first.points)
        assert prompts.masks.shape == (3, HEIGHT, WIDTH)
        for mask, window in zip(prompts.masks, (street.things[t] for t in (POLE, PERSON, CAR)), strict=True):
            assert (mask[window] > 0).all() and (mask > 0).sum() == mask[window].numel()


def test_a_box_is_asked_for_with_all_that_is_known(street, by_colour):
    fake = by_colour()
    refine(one_image(street), "sam_box", outside_points=2)
    assert [many for _, many in fake.calls] == [False] * 3
    for prompts, _ in fake.calls:
        assert prompts.points.shape == (3, 5, 2)
        assert prompts.inside[:, :3].all() and not prompts.inside[:, 3:].any()
        assert prompts.boxes.tolist() == fake.calls[0][0].boxes.tolist()
    objects = find_things(street.coarse, None, CLASSES.refined_train_ids)
    for one, mask in zip(objects, fake.calls[0][0].masks.numpy(), strict=True):
        assert (mask[one.window] > 0)[one.mask].all() and (mask > 0).sum() == one.area
    refine(one_image(street), "sam_box", mask_logit=0.0)
    assert fake.calls[3][0].masks is None and fake.calls[4][0].masks is not None


def test_instances_are_refined_one_by_one(street, by_colour):
    by_colour()
    instances = np.zeros((HEIGHT, WIDTH), np.int32)
    instances[street.coarse == CAR] = 26000
    instances[:, 25:][street.coarse[:, 25:] == CAR] = 26001
    made = refine(one_image(street, instances=instances))
    assert made.objects["train_id"].tolist() == [POLE, PERSON, CAR, CAR]
    assert set(made.maps["object"][street.things[CAR]].ravel().tolist()) == {2, 3}  # neither takes the other's coarse


def test_a_bus_is_neither_refined_nor_overwritten_unless_all_classes_are(street, by_colour):
    by_colour()
    coarse = street.coarse.copy()
    coarse[20:24, 10:20] = BUS  # in what the car's colour covers
    made = refine(one_image(street, coarse=coarse))
    assert (made.label[20:24, 10:20] == BUS).all() and BUS not in made.objects["train_id"]
    all_classes = refine(one_image(street, coarse=coarse), classes="all")
    assert all_classes.objects["train_id"].tolist() == [ROAD, POLE, PERSON, CAR, BUS]


def test_the_guard_keeps_the_coarse_mask_of_what_is_implausible(street, by_colour):
    def outgrown(mask):
        return mask if mask.sum() > 144 else np.ones_like(mask)  # the pole becomes all there is

    by_colour(ByColour(outgrown))
    made = refine(one_image(street), "sam_points_guarded")
    assert made.counts == {"refined": 2, "kept": 1}
    assert made.objects["kept"].tolist() == [1, 0, 0]
    assert made.objects["area_ratio"][0] == pytest.approx(HEIGHT * WIDTH / 52)
    np.testing.assert_array_equal(made.label == POLE, street.coarse == POLE)
    unguarded = refine(one_image(street))
    assert unguarded.counts == {"refined": 3, "kept": 0} and (unguarded.label == POLE).sum() > 1000


@pytest.mark.parametrize(
    ("guard", "kept"),
    [
        ({"min_area_ratio": 2.5}, [0, 1, 1]),
        ({"max_area_ratio": 2.5}, [1, 0, 0]),
        ({"min_predicted_iou": 0.8}, [0, 1, 0]),
        ({}, [0, 0, 0]),
    ],
)
def test_each_bound_of_the_guard(street, by_colour, guard, kept):
    by_colour()
    assert refine(one_image(street), "sam_points_guarded", **guard).objects["kept"].tolist() == kept


def test_the_guard_sees_masks_that_leave_the_coarse_one(street, by_colour):
    by_colour(ByColour(lambda mask: np.roll(mask, 5, axis=1)))
    assert refine(one_image(street), "sam_points_guarded").objects["kept"].tolist() == [1, 0, 0]
    made = refine(one_image(street), "sam_points_guarded", min_overlap=0.9)
    assert made.objects["kept"].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(made.label, street.coarse)


@pytest.mark.parametrize("method", METHODS)
def test_a_label_without_objects_needs_no_model(street, monkeypatch, method):
    monkeypatch.setattr(SamRefiner, "_set_up", lambda _: pytest.fail("there is nothing to refine"))
    for fill in (IGNORE, ROAD, BUS):
        coarse = np.full((HEIGHT, WIDTH), fill, np.uint8)
        made = refine(one_image(street, coarse=coarse), method)
        np.testing.assert_array_equal(made.label, coarse)
        assert not np.shares_memory(made.label, coarse)
        assert made.counts == {"refined": 0, "kept": 0} and (made.maps["object"] == -1).all()
        assert all(len(column) == 0 for column in made.objects.values()) and len(made.objects) == 4


def test_what_has_objects_is_encoded_together_and_the_rest_not_at_all(street, by_colour):
    fake = by_colour(images_at_once=2)
    empty = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    images = [one_image(street, f"{n}", coarse=empty if n in (1, 5) else None) for n in range(7)]
    found = list(refiner().refine_all(images))
    assert sorted(position for position, _ in found) == list(range(7))
    assert fake.embedded == [2, 2, 1]
    assert all((made.counts["refined"] > 0) == (position not in (1, 5)) for position, made in found)


def test_images_are_read_a_few_ahead_and_no_more(street, by_colour):
    by_colour()
    taken = count()
    source = (one_image(street, f"{next(taken)}") for _ in range(50))
    refining = refiner().refine_all(source)
    next(refining)
    refining.close()
    assert next(taken) <= 6


@pytest.mark.parametrize("method", METHODS)
def test_a_single_pixel_is_an_object_too(street, by_colour, method):
    fake = by_colour()
    coarse = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    coarse[25, 20] = CAR
    made = refine(
        one_image(street, coarse=coarse), method, **({} if method == "sam_points" else {"max_area_ratio": 1e4})
    )
    assert (made.label[street.things[CAR]] == CAR).all() and made.objects["area_ratio"] == [600]
    prompts = fake.calls[0][0]
    assert (prompts.points[prompts.inside] == [20, 25]).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_mask_may_be_the_whole_image(street, by_colour, method):
    by_colour()
    coarse = np.full((HEIGHT, WIDTH), CAR, np.uint8)
    made = refine(one_image(street, coarse=coarse), method)
    assert len(made.objects["train_id"]) == 1 and set(np.unique(made.label)) <= {CAR, IGNORE}


@pytest.mark.parametrize("method", ["sam_points", "sam_box"])
def test_five_hundred_instances(tmp_path, by_colour, method):
    coarse, instances = np.full((50, 200), IGNORE, np.uint8), np.zeros((50, 200), np.int32)
    picture = np.zeros((50, 200, 3), np.uint8)
    for n in range(500):
        top, left = n // 50 * 5, n % 50 * 4
        picture[box(top, left, 4, 3)] = n % 250, n // 250, 9
        inner = box(top + 1, left + 1, 2, 1)
        coarse[inner], instances[inner] = PERSON, 24000 + n
    Image.fromarray(picture).save(tmp_path / "crowd.png")
    by_colour()
    made = refine(CoarseImage("crowd", tmp_path / "crowd.png", coarse, instances), method)
    assert made.counts == {"refined": 500, "kept": 0}
    np.testing.assert_array_equal(made.label == PERSON, picture[..., 2] == 9)
    assert len(np.unique(made.maps["object"])) == 501


def test_an_image_of_another_size_is_named_and_those_before_it_come_first(street, by_colour):
    by_colour(images_at_once=4)
    odd = one_image(street, "b", coarse=np.full((HEIGHT, WIDTH + 1), CAR, np.uint8))
    refining = refiner().refine_all([one_image(street), one_image(street), odd])
    assert [next(refining)[0], next(refining)[0]] == [0, 1]
    with pytest.raises(UserError, match=r"street\.png is 80x48 but its coarse label is 81x48"):
        next(refining)


def same_as_predictor(image, model, settings):
    """Objects, logits of their masks, and estimates, by a plain loop over the package's predictor."""
    predictor = SamPredictor(model)
    predictor.set_image(np.array(Image.open(image.image)))
    for one in find_things(image.coarse, image.instances, CLASSES.refined_train_ids):
        points = random_points(one, settings["points"], settings["seed"], image.name)
        fed_back = None
        for call in range(1 + settings["iterations"]):
            three = settings["multimask"] == "always" or (settings["multimask"] == "first" and not call)
            masks, iou, low = predictor.predict(points, np.ones(len(points)), None, fed_back, three, return_logits=True)
            best = int(iou.argmax())
            fed_back = low[best : best + 1]
        yield one, masks[best], iou[best]


@pytest.mark.parametrize(
    "choice", [{}, {"multimask": "always", "points": 3}, {"multimask": "never", "iterations": 1}, {"iterations": 0}]
)
def test_sam_points_is_a_loop_over_the_predictor(tmp_path, monkeypatch, choice):
    settings = {"points": 2, "seed": 9, "iterations": 2, "multimask": "first", "precision": "float32", **choice}
    rng = np.random.default_rng(3)
    scene = np.kron(rng.integers(0, 256, (8, 16, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    Image.fromarray(scene).save(tmp_path / "a.png")
    coarse = np.full(scene.shape[:2], ROAD, np.uint8)
    coarse[:40], coarse[30:60, 20:70], coarse[10:90, 100:103], coarse[50:80, 150:160] = IGNORE, CAR, POLE, PERSON
    coarse[95, 0] = CAR
    image = CoarseImage("a", tmp_path / "a.png", coarse, None)
    given = []
    paint = Canvas.paint
    monkeypatch.setattr(Canvas, "paint", lambda *arguments: (given.append(arguments[1:]), paint(*arguments)))
    made = refine(image, **settings)
    expected = list(same_as_predictor(image, build_model("small", seed=settings["seed"]), settings))
    assert len(expected) == len(given) == 4
    masks = dict(given)
    for number, (one, logits, iou) in enumerate(expected):
        assert 0.01 < (logits > 0).mean() < 0.99  # else it would tell nothing
        sure = np.abs(logits) > 1e-5  # nearer to 0, rounding decides
        assert sure.mean() > 0.999
        np.testing.assert_array_equal(masks[number][sure], logits[sure] > 0)
        assert made.objects["predicted_iou"][number] == pytest.approx(iou, abs=1e-5)
        assert made.objects["area_ratio"][number] == pytest.approx((logits > 0).sum() / one.area, rel=1e-3)


@pytest.fixture
def root(tmp_path, street):
    """A dataset of two coarsely annotated images, the first of which has instances."""
    root = tmp_path / "data"
    root.mkdir()
    native = CLASSES.to_native_ids(street.coarse)
    for name in ("a", "b"):
        Image.fromarray(street.picture).save(root / f"{name}.png")
        Image.fromarray(native).save(root / f"{name}-coarse.png")
    instances = native.astype(np.uint16)
    instances[street.coarse == CAR] = 26000
    Image.fromarray(instances).save(root / "a-instances.png")
    return root


def refine_all(root, method="sam_points", housekeeping=None, **settings):
    results = root.parent / "results"
    facts = {"split": "train", "group": "g", "frames": "", "key": 0, "first": 0, "last": 0}
    shard = [
        Clip(id=n, image=f"{n}.png", coarse=f"{n}-coarse.png", coarse_instances=i, **facts)
        for n, i in (("a", "a-instances.png"), ("b", ""))
    ]
    write_clips(
        results / "shard.csv", shard, {"offsets": {c.id: "" for c in shard}, "state": {c.id: "" for c in shard}}
    )
    out = results / "refined" / method / "0000.csv"
    refine_shard(
        *(results / "shard.csv", method, RANDOM | settings, root, CLASSES, results, out, HERE | (housekeeping or {}))
    )
    with out.open(newline="") as file:
        return {row["clip"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("crops", [False, True])
def test_every_method_runs_as_a_stage(root, method, crops, capsys):
    rows = refine_all(root, method, crops=crops)
    assert list(rows) == ["a", "b"]
    for row in rows.values():
        file = root.parent / "results" / row["file"]
        assert file.parent.name == RANDOM_WEIGHTS
        layer = read_layer(file, 0)
        assert layer.objects["train_id"].tolist() == [POLE, PERSON, CAR]
        assert layer.maps["object"].dtype == np.int16
        assert layer.notes["device"] == "processor" and layer.notes["config"] == "small"
        assert layer.notes["precision"] in ("float32", "bfloat16")
        settings = read_provenance(file)["settings"]
        assert settings["weights"] == "random" and settings["crops"] == crops and "max_batch" not in settings
    assert "2 images, " in capsys.readouterr().err


def test_what_was_made_is_found_and_what_decides_it_is_not(root, monkeypatch):
    rows = refine_all(root)
    files = {name: row["file"] for name, row in rows.items()}
    for change in ({"seed": 2}, {"points": 3}, {"overlaps": "smallest"}, {"vacated": "coarse"}, {"multimask": "never"}):
        assert not set(files.values()) & {row["file"] for row in refine_all(root, **change).values()}
    monkeypatch.setattr(SamRefiner, "_set_up", lambda _: pytest.fail("all is there"))
    assert refine_all(root, housekeeping={"max_batch": 1, "images_at_once": 2}) == rows


def test_settings_that_decide_nothing_make_nothing_due(tmp_path):
    torch.save(build_model("small").state_dict(), tmp_path / "own.pth")
    own = {"weights": str(tmp_path / "own.pth"), "config": "small"}

    def known_by(method, **changes):
        one = build_refiner(method, own | changes, CLASSES, HERE)
        assert not one.random_weights and one.notes["weights"] == own["weights"]
        return one.settings

    assert known_by("sam_box") == known_by("sam_box", seed=3) != known_by("sam_box", mask_rim=2.0)
    assert known_by("sam_box", mask_logit=0.0) == known_by("sam_box", mask_logit=0.0, mask_rim=2.0)
    assert known_by("sam_points") != known_by("sam_points", seed=3)
    assert len(known_by("sam_points")["weights"]) == 64


def test_torch_waits_until_there_is_something_to_refine():
    script = f"""
import sys
from fewframes.core.labels import load_class_table
from fewframes.labelling.refinement import build_refiner

classes = load_class_table("cityscapes")
for method in {METHODS}:
    refiner = build_refiner(method, {RANDOM}, classes, {HERE})
    assert list(refiner.refine_all([])) == [] and refiner.settings and refiner.notes
assert "torch" not in sys.modules, "imported"
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(
    ("method", "settings", "housekeeping", "message"),
    [
        ("sam_points", {"point": 3}, {}, "'point' is not a setting of refinement 'sam_points'"),
        ("sam_points", {"points": 0}, {}, "'points' of refinement 'sam_points' is 0: give at least 1"),
        ("sam_points", {"iterations": -1}, {}, "'iterations' .* give at least 0"),
        ("sam_points", {"max_area_ratio": 3.0}, {}, "'max_area_ratio' is not a setting of refinement 'sam_points'"),
        ("sam_points", {"multimask": "last"}, {}, "'multimask' .* choose one of first, never, always"),
        ("sam_points", {"overwrites": "stuff"}, {}, "choose one of stuff_and_unlabelled, unlabelled, everything"),
        ("sam_points", {"vacated": "road"}, {}, "'vacated' .* choose one of ignore, coarse"),
        ("sam_points", {"overlaps": "largest"}, {}, "'overlaps' .* choose one of predicted_iou, smallest"),
        ("sam_points", {"classes": "car"}, {}, "'classes' .* choose one of refined, all"),
        ("sam_points", {"precision": "half"}, {}, "choose one of auto, bfloat16, float32"),
        ("sam_points", {"crops": 2}, {}, "'crops' .* is 2: give true or false"),
        ("sam_points", {}, {"device": "tpu"}, "'device' .* choose one of auto, cpu, cuda"),
        ("sam_points", {}, {"max_batch": -1}, "'max_batch' .* give at least 0"),
        ("sam_points_guarded", {"min_overlap": 1.5}, {}, "'min_overlap' .* give a share from 0 to 1"),
        ("sam_points_guarded", {"max_area_ratio": 0.5}, {}, "'max_area_ratio' .* give at least 1"),
        ("sam_points_guarded", {"max_area_ratio": float("inf")}, {}, "'max_area_ratio' .* give a finite number"),
        ("sam_box", {"points": 2}, {}, "'points' is not a setting of refinement 'sam_box'"),
        ("sam_box", {"box_margin": float("nan")}, {}, "'box_margin' .* give at least 0"),
        ("sam_box", {"mask_rim": 0.5}, {}, "'mask_rim' .* give at least 1"),
        ("sam_box", {"config": ""}, {}, r"set refinement\.sam_box\.config"),
        ("sam_box", {"weights": "sam_vit_b"}, {"weights_folder": "nowhere"}, "fewframes fetch sam_vit_b"),
        ("sam_box", {"weights": "sam2.1_hiera_tiny"}, {}, r"weights of sam2, not of segment-anything: set refinement"),
    ],
)
def test_settings_that_are_none_are_refused(method, settings, housekeeping, message):
    with pytest.raises(UserError, match=message):
        build_refiner(method, RANDOM | settings, CLASSES, HERE | housekeeping)
