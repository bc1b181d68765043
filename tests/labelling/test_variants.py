"""Variants of refinement methods that refine every class."""

from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.experiments.methods import Methods
from fewframes.labelling.refinement import METHODS, VARIANTS, CoarseImage, build_refiner, method_of
from fewframes.labelling.refinement.grabcut import GrabCutSettings

CLASSES = load_class_table("cityscapes")
ROAD, CAR = CLASSES.names.index("road"), CLASSES.names.index("car")


@pytest.fixture
def coarse(tmp_path):
    """An image of a car on a road, both drawn too small."""
    image = np.full((64, 96, 3), (90, 140, 230), np.uint8)
    image[32:] = (80, 80, 90)
    image[30:50, 40:70] = (200, 30, 40)
    image = np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "i.png")
    label = np.full((64, 96), 255, np.uint8)
    label[52:62, 4:90] = ROAD
    label[34:46, 44:66] = CAR
    return CoarseImage("i", tmp_path / "i.png", label, None)


def test_a_variant_refines_what_the_method_leaves(coarse):
    ((_, usual),) = build_refiner("grabcut", {}, CLASSES).refine_all([coarse])
    ((_, every),) = build_refiner("grabcut_all", {}, CLASSES).refine_all([coarse])
    assert (usual.label == CAR).sum() > (coarse.coarse == CAR).sum()
    assert (usual.label == ROAD).sum() == (coarse.coarse == ROAD).sum() < (every.label == ROAD).sum()
    assert (every.counts["refined"] + every.counts["kept"], usual.counts["refined"] + usual.counts["kept"]) == (2, 1)


def test_a_variant_is_known_by_its_classes_and_the_method_as_it_was(coarse):
    told = asdict(GrabCutSettings())
    assert build_refiner("grabcut_all", {"reach": 0.1}, CLASSES).settings == {**told, "reach": 0.1, "classes": "all"}
    assert build_refiner("grabcut", {"classes": "all"}, CLASSES).settings == {**told, "classes": "all"}
    # Labels made before there was the setting must be found.
    del told["classes"]
    assert build_refiner("grabcut", {}, CLASSES).settings == told


def test_only_methods_that_choose_classes_have_a_variant():
    assert {method_of(variant) for variant in VARIANTS} == set(METHODS) - {"automask", "none"}
    for name in ("automask_all", "none_all", "grabcut_all_all"):
        with pytest.raises(UserError, match=f"refinement method '{name}' is unknown"):
            build_refiner(name, {}, CLASSES)
    with pytest.raises(UserError, match="'classes' of refinement 'grabcut' is 'some'"):
        build_refiner("grabcut", {"classes": "some"}, CLASSES)


def test_a_variant_has_the_methods_settings_and_weights():
    block = {"weights": "sam_vit_b", "config": "", "device": "auto", "points": 3, "max_batch": 2}
    config = {"weights": "weights", "refinement": {"sam_points": block, "grabcut": {"reach": 0.1}}}
    methods = Methods(config, "results/x")
    for read in (methods.settings, methods.housekeeping, methods.needs_gpu, methods.waits_for):
        assert read("refinement", "sam_points_all") == read("refinement", "sam_points")
    assert methods.needs_gpu("refinement", "sam_points_all") and not methods.needs_gpu("refinement", "grabcut_all")
    assert methods.settings("refinement", "grabcut_all") == '{"reach":0.1}'
