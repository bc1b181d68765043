"""The compact SAM 2 and SAM that come with Fewframes: how good their masks are, on what they never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxsettings import Data
from helpers.compact_scores import OBJECTS, by_propagator, follow_toy_city, propagate_camvid
from numpy.typing import NDArray
from refiners import camvid, toycity

from fewframes.core.labels import load_class_table
from fewframes.core.weights import FOLDER
from fewframes.labelling.models.checkpoint import SAM, chosen_weights
from fewframes.labelling.propagation import build_propagator

CAMVID = Path(__file__).resolve().parents[3] / "shared" / "data" / "camvid"


@pytest.mark.slow
def test_it_follows_the_objects_of_a_city_it_never_saw() -> None:
    found, _ = chosen_weights("compact", "", Path(FOLDER))
    assert found is not None and found.verified and found.path.stat().st_size < 6_000_000
    settings = {"weights": "compact", "tiles": 2, "objects": "class"}
    ours, copied = (
        follow_toy_city(by_propagator(method), 0, [0], reach=4, least_area=150)
        for method in (
            build_propagator("sam2", settings, OBJECTS, {"device": "cpu"}),
            build_propagator("copy", {}, OBJECTS),
        )
    )
    assert ours.count == copied.count > 100
    assert ours.region > copied.region + 18 and ours.both > 86


@pytest.mark.slow
@pytest.mark.skipif(not (CAMVID / "val15hz").is_dir(), reason="CamVid's 15 Hz frames are not here")
def test_it_carries_labels_in_real_video_better_than_copying_does() -> None:
    classes = load_class_table("camvid")
    ours = build_propagator("sam2", {"weights": "compact", "tiles": 2}, classes, {"device": "cpu"})
    scores = {
        name: propagate_camvid(method, CAMVID, classes, 41, 5)
        for name, method in (("sam2", ours), ("copy", build_propagator("copy", {}, classes)))
    }
    assert scores["sam2"].miou > scores["copy"].miou + 12 and scores["sam2"].miou > 66


@pytest.mark.slow
def test_it_refines_coarse_labels_of_a_city_it_never_saw(tmp_path: Path) -> None:
    found, _ = chosen_weights("compact", "", Path(FOLDER), SAM)
    assert found is not None and found.verified and found.path.stat().st_size < 6_000_000
    gains = _gains(Data.of("toy city", *toycity(tmp_path, 256, 0)))
    assert len(gains) == 8 and (gains > 0).all() and gains.mean() > 15


@pytest.mark.slow
@pytest.mark.skipif(not (CAMVID / "trainannot").is_dir(), reason="CamVid's stills are not here")
def test_it_refines_coarse_labels_of_real_pictures(tmp_path: Path) -> None:
    gains = _gains(Data.of("CamVid", *camvid(CAMVID, tmp_path, 120)))
    assert len(gains) == 5 and (gains > 0).all() and gains.mean() > 10


def _gains(data: Data) -> NDArray[np.float64]:
    """Points of IoU, by refined class, over the coarse labels."""
    return data.iou("sam_box", {"weights": "compact"}) - data.iou("none", {})
