"""Labels that mean nothing are marked, and refused where numbers are printed."""

from pathlib import PurePath

import pytest

from fewframes.core.errors import UserError
from fewframes.core.files import write_csv
from fewframes.labelling.methods import made_at_random
from fewframes.reporting.marks import MEANINGLESS, marked_note
from fewframes.reporting.statistics import Grid

RANDOM, TRAINED = "pseudo/sam2/labels/random-weights/a-0f.h5", "pseudo/sam2/labels/a-0f.h5"


def grid(results, **labels):
    for experiment, label in labels.items():
        path = results / "manifests" / experiment / "draw0.csv"
        write_csv(path, ("clip", "label"), [("a", "gtFine/a.png"), ("b", label)])
    return Grid(results, ("tmanet",), {"n1": (0,), **dict.fromkeys(labels, (0,))}, (0,))


def settings(allowed=False):
    return {"note": "Toy.", "allow_random_weights": allowed}


def test_labels_are_told_by_their_folder():
    assert made_at_random(PurePath(RANDOM)) and not made_at_random(PurePath(TRAINED))


def test_runs_on_random_labels_are_refused_and_named(tmp_path):
    with pytest.raises(UserError, match=r"'b3' is trained on labels made with random weights.*allow_random_weights"):
        marked_note(grid(tmp_path, p2=TRAINED, b3=RANDOM), settings())


def test_where_they_are_allowed_they_are_marked(tmp_path):
    assert marked_note(grid(tmp_path, b3=RANDOM), settings(allowed=True)) == f"{MEANINGLESS} Toy."


def test_other_runs_keep_their_note(tmp_path):
    for allowed in (False, True):
        assert marked_note(grid(tmp_path, p2=TRAINED), settings(allowed)) == "Toy."
