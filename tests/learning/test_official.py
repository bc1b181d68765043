"""Predictions in the benchmarks' own formats, and scores equal to the benchmarks' own evaluators'."""

import csv
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from fewframes.cli.models import export_predictions as command
from fewframes.core import metrics
from fewframes.core.clips import Folder, Root
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.images import read_label
from fewframes.core.labels import ClassTable, load_class_table
from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.experiments.manifests import sample_fingerprint
from fewframes.learning.evaluation import evaluate, grouped
from fewframes.learning.networks import build_network
from fewframes.learning.official import export_predictions
from fewframes.learning.training import save_model, train

ROOT = Path(__file__).parents[2]
CITYSCAPES, IDD = load_class_table("cityscapes"), load_class_table("idd")

# Of IDD's label table (AutoNUE's helpers/anue_labels.py), by id from 0 to 34: level-3, level-2 and level-1 id. Ids 35
# to 39 are 255 at every level.
IDD_LEVELS = (
    (0, 0, 0), (1, 1, 0), (1, 1, 0), (2, 2, 1), (3, 3, 1), (3, 3, 1), (4, 4, 2), (4, 4, 2), (5, 5, 2), (6, 6, 3),
    (7, 6, 3), (8, 7, 3), (9, 7, 3), (10, 8, 3), (11, 8, 3), (12, 8, 3), (12, 8, 3), (12, 8, 3), (12, 8, 3), (13, 9, 4),
    (14, 9, 4), (15, 10, 4), (16, 10, 4), (17, 11, 4), (18, 11, 4), (19, 11, 4), (20, 12, 4), (20, 12, 4), (21, 12, 4),
    (22, 13, 5), (23, 13, 5), (23, 13, 5), (24, 14, 5), (25, 15, 6), (25, 15, 6),
)  # fmt: skip
LEVELS = {3: 26, 2: 16, 1: 7}
"""How many ids each level has."""

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Frames:
    """A dataset with an evaluation manifest."""

    root: Path
    manifest: Path
    classes: ClassTable

    def arguments(self) -> dict[str, Any]:
        root = {"dataset_root": self.root, "labels_root": self.root}
        return {"manifest": self.manifest, "classes": self.classes, **root}


def frames(root: Path, listed: list[tuple[str, str]], classes: ClassTable, files_in: Folder | None = None) -> Frames:
    """Images and their labels, relative to `root`, as a manifest beside it; each image is its own memory."""
    found = files_in or root
    manifest, hashes = root.parent / "manifest.csv", ContentHashes(root.parent / "hashes", "test")
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "offset", "source", "image", "memory_1", "label", "fingerprint"])
        for number, (image, label) in enumerate(listed):
            known = sample_fingerprint([found / image] * 2, hashes.of(found / label), hashes)
            writer.writerow([f"clip{number}", 0, "fine", image, image, label, known])
    return Frames(root, manifest, classes)


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Frames:
    root = tmp_path_factory.mktemp("city") / "data"
    write_toycity(root, ToyCitySettings(train=0, val=3, train_extra=0, height=64, width=128))
    images = sorted(p.relative_to(root) for p in root.glob("leftImg8bit/val/*/*"))
    labels = [str(i).replace("leftImg8bit/", "gtFine/").replace("leftImg8bit", "gtFine_labelIds") for i in images]
    return frames(root, list(zip(map(str, images), labels, strict=True)), CITYSCAPES)


@pytest.fixture(scope="module")
def idd(tmp_path_factory) -> Frames:
    """IDD's layout, with the drawn truth of the annotated frame for a label."""
    root = tmp_path_factory.mktemp("idd")
    write_toycity(root / "data", ToyCitySettings(train=0, val=2, height=48, width=96, layout="idd"))
    listed = []
    for image in sorted(p.relative_to(root) for p in root.glob("data/leftImg8bit/val/*/*")):
        name = image.name.split("_leftImg8bit")[0]
        truth = sorted((root / "data-truth/val" / image.parent.name).glob(f"{name}_*"))
        listed.append((str(image), str(truth[len(truth) // 2].relative_to(root))))
    return frames(root, listed, IDD)


@pytest.fixture(scope="module")
def trained(city, settings, tmp_path_factory) -> Path:
    """A network that tells some of toy city's classes apart."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained")
    plan = {**settings, "iterations": 40, "batch_size": 3, "crop": [64, 128], "scale": [1, 1], "photometric": False}
    train(**city.arguments(), settings=plan, seed=0, out=out, checkpoints=out / "c")
    return out / "model.safetensors"


def tdnet(path: Path, classes: ClassTable) -> Path:
    """Random weights, whose two paths differ."""
    network = {"name": "tdnet", "width": 8, "size": [64, 128]}
    torch.manual_seed(1)
    save_model(path, build_network(network, len(classes.names)), network, classes)
    return path


@pytest.fixture(scope="module")
def interpreter() -> str:
    """The one that has cityscapesScripts."""
    named = os.environ.get("FEWFRAMES_CROSSCHECK_PYTHON")
    here = named or str(ROOT / ".venv-crosscheck/bin/python")
    if not Path(here).is_file():
        assert not named, f"FEWFRAMES_CROSSCHECK_PYTHON names {named}, which does not exist"
        pytest.skip(f"{here} does not exist: install envs/crosscheck.lock in .venv-crosscheck to compare with it")
    return here


def reference_scores(interpreter: str, folder: Path, pairs: list[Pair], tables: list[Any]) -> list[dict[str, Any]]:
    """What cityscapesScripts' evaluator says of native ids, (truth, prediction), by each label table."""
    files: dict[str, list[str]] = {"truth": [], "predictions": []}
    for number, pair in enumerate(pairs):
        for (kind, listed), ids in zip(files.items(), pair, strict=True):
            listed.append(str(folder / f"{kind}{number}.png"))
            Image.fromarray(ids).save(listed[-1])
    (folder / "runs.json").write_text(json.dumps([{**files, "labels": table} for table in tables]))
    script = [
        interpreter,
        ROOT / "tests/crosscheck/reference.py",
        "score",
        folder / "runs.json",
        folder / "scores.json",
    ]
    subprocess.run(script, check=True, timeout=120)
    return json.loads((folder / "scores.json").read_text())


def our_confusion(pairs: list[Pair], classes: ClassTable) -> NDArray[np.int64]:
    ids = [[classes.to_train_ids(native, "a test") for native in pair] for pair in pairs]
    return np.sum([metrics.confusion_matrix(*pair, len(classes.names)) for pair in ids], axis=0)


def assert_same(ours: NDArray[np.float64], theirs: list[float], average: float) -> None:
    """Every score and the average, to the last bit."""
    np.testing.assert_array_equal(ours, theirs)
    assert metrics.mean(ours) == average
    assert f"{100 * metrics.mean(ours):.4f}" == f"{100 * average:.4f}"


def perturbed(rng: np.random.Generator, truth: NDArray[np.uint8], classes: ClassTable) -> NDArray[np.uint8]:
    """A prediction as networks make them: outlines off by some pixels, patches of another class, nothing ignored."""
    ids = np.intersect1d(truth, [c.id for c in classes.trained])
    prediction = np.roll(truth, rng.integers(-4, 5, 2), (0, 1))
    for _ in range(12):
        y, x, side = rng.integers(0, (*truth.shape, 20))
        prediction[y : y + side, x : x + side] = rng.choice(ids)
    return np.where(np.isin(prediction, ids), prediction, rng.choice(ids)).astype(np.uint8)


def real_shaped(data: Frames, seed: int) -> list[Pair]:
    rng = np.random.default_rng(seed)
    labels = [row["label"] for row in csv.DictReader(data.manifest.open())]
    truths = [read_label(data.root / label) for label in labels]
    return [(truth, perturbed(rng, truth, data.classes)) for truth in truths]


def random_pairs(true: Sequence[int], predicted: Sequence[int], seed: int) -> list[Pair]:
    """Pictures of several sizes in which every pixel is drawn from these native ids."""
    rng = np.random.default_rng(seed)
    sizes = [tuple(rng.integers(1, 60, 2)) for _ in range(4)]
    return [(rng.choice(true, size).astype(np.uint8), rng.choice(predicted, size).astype(np.uint8)) for size in sizes]


@pytest.mark.parametrize("kind", ["random", "random and partly ignored", "few classes", "real-shaped"])
def test_scores_equal_cityscapesscripts_to_the_last_digit(interpreter, city, tmp_path, kind) -> None:
    every, evaluated = range(34), [c.id for c in CITYSCAPES.trained]
    pairs = {
        "random": random_pairs(every, evaluated, 0),
        "random and partly ignored": random_pairs(every, every, 1),
        "few classes": random_pairs([0, 7, 8, 24], [7, 11, 24], 2),
        "real-shaped": real_shaped(city, 3),
    }[kind]
    (theirs,) = reference_scores(interpreter, tmp_path, pairs, [None])
    confusion = our_confusion(pairs, CITYSCAPES)
    iou = metrics.iou_per_class(confusion)
    assert_same(iou, [theirs["classScores"][name] for name in CITYSCAPES.names], theirs["averageScoreClasses"])
    assert np.isnan(iou).any() == (kind == "few classes")
    if kind == "random and partly ignored":
        return  # networks claim every pixel: our categories know no other prediction
    assert not confusion[:, -1].any()
    groups = CITYSCAPES.groups["category"]
    by_category = metrics.iou_per_class(grouped(confusion[:, :-1], groups, CITYSCAPES))
    assert_same(by_category, [theirs["categoryScores"][name] for name in groups], theirs["averageScoreCategories"])


def level_table(level: int) -> list[Any]:
    """IDD's labels as rows of cityscapesScripts' table; a category is an id of the level.

    What IDD's own table ignores but has a level-3 id (animal, caravan, trailer, train) counts: its evaluator works on
    level-3 ids and does not ask.
    """
    rows = []
    for c in IDD.classes:
        counts = c.id < len(IDD_LEVELS)
        category = str(IDD_LEVELS[c.id][3 - level]) if counts else "void"
        rows.append([c.name, c.id, 0, category, 0, False, not counts, c.rgb])
    return rows


@pytest.mark.parametrize("kind", ["random", "real-shaped"])
def test_scores_by_idd_s_levels_equal_cityscapesscripts_with_idd_s_table(interpreter, idd, tmp_path, kind) -> None:
    """cityscapesScripts' evaluator, from which IDD's descends, given IDD's ids and each level for its categories.

    It shows that our ids, groups and counts at levels 3, 2 and 1 are those that an independent evaluator has with IDD's
    table. It does not show that IDD's own script is such an evaluator: its rules are in `autonue_scores`.
    """
    pairs = random_pairs(range(40), range(35), 4) if kind == "random" else real_shaped(idd, 5)
    confusion = our_confusion(pairs, IDD)
    assert not confusion[:, -1].any()
    for level, theirs in zip(
        LEVELS, reference_scores(interpreter, tmp_path, pairs, [level_table(n) for n in LEVELS]), strict=True
    ):
        groups = IDD.groups[f"level{level}"] if level < 3 else {name: (name,) for name in IDD.names}
        iou = metrics.iou_per_class(grouped(confusion[:, :-1], groups, IDD))
        listed = [theirs["categoryScores"].get(str(number), np.nan) for number in range(LEVELS[level])]
        assert_same(iou, listed, theirs["averageScoreCategories"])


def autonue_scores(truth: Path, predictions: Path, level: int) -> NDArray[np.float64]:
    """IoU by id of a level, by the rules of AutoNUE's evaluate_mIoU.py, from its files of level-3 ids.

    Both pictures are brought to 1280x720 by nearest neighbour. What is no level-3 id is one class more, which has no
    IoU: where it is true nothing counts, and no network predicts it. Two things are not as there: its mean is no number
    where a class is nowhere, and its level 1 joins level-3 classes by the numbers of level 2, which leaves 16 to 25
    out. Here level 1 is what its label table says.
    """
    count = np.zeros((27, 27), np.int64)
    for file in truth.glob("*/*_gtFine_labellevel3Ids.png"):
        both = [Image.open(f) for f in (file, predictions / file.relative_to(truth))]
        rows, columns = (np.minimum(p.resize((1280, 720), Image.Resampling.NEAREST), 26).ravel() for p in both)
        np.add.at(count, (rows, columns), 1)
    members = [sorted({row[0] for row in IDD_LEVELS if row[3 - level] == number}) for number in range(LEVELS[level])]
    inside = [count[np.ix_(m, m)].sum() for m in members]
    union = [count[m].sum() + count[:26, m].sum() for m in members]
    with np.errstate(invalid="ignore"):
        return np.array([hit / (whole - hit) for hit, whole in zip(inside, union, strict=True)])


def test_exported_files_score_in_cityscapesscripts_as_evaluate_says(interpreter, city, trained, tmp_path) -> None:
    plan = {"mode": "whole"}
    evaluate(trained, **city.arguments(), out=tmp_path / "ours", settings=plan)
    assert export_predictions(trained, "cityscapes", **city.arguments(), out=tmp_path / "exported", settings=plan) == 3
    folders = {"DATASET": city.root, "RESULTS": tmp_path / "exported", "EXPORT_DIR": tmp_path}
    subprocess.run(
        [interpreter, "-m", "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"],
        env={**os.environ, **{f"CITYSCAPES_{key}": str(folder) for key, folder in folders.items()}},
        check=True,
        capture_output=True,
        timeout=120,
    )
    theirs = json.loads((tmp_path / "resultPixelLevelSemanticLabeling.json").read_text())
    classes = [theirs["classScores"][name] for name in CITYSCAPES.names] + [theirs["averageScoreClasses"]]
    assert written(tmp_path / "ours/metrics.csv") == [percent(iou) for iou in classes]
    assert len({percent(iou) for iou in classes} - {"", "0.0000"}) > 3, "it has learned nothing that could differ"
    groups = CITYSCAPES.groups["category"]
    categories = [theirs["categoryScores"][name] for name in groups] + [theirs["averageScoreCategories"]]
    assert written(tmp_path / "ours/groups.csv") == [percent(iou) for iou in categories]


def test_exported_files_score_by_idd_s_rules_as_evaluate_says(idd, tmp_path) -> None:
    model = tdnet(tmp_path / "model.safetensors", IDD)
    plan = {"mode": "resized", "crop": [64, 128], "size": [720, 1280]}
    evaluate(model, **idd.arguments(), out=tmp_path / "ours", settings=plan)
    truth = level3_truth(idd, tmp_path / "truth")
    scores = []
    for path in (0, 1):
        out = tmp_path / f"path{path}"
        assert export_predictions(model, "idd", **idd.arguments(), out=out, settings=plan, path=path) == 2
        scores.append({level: autonue_scores(truth, out, level) for level in LEVELS})
    each = [percent(np.nanmean(by_level[3])) for by_level in scores]
    assert each[0] != each[1]
    assert [row["miou"] for row in csv.DictReader((tmp_path / "ours/paths.csv").open())] == each
    for level, file, first in ((3, "metrics.csv", 0), (2, "groups.csv", 0), (1, "groups.csv", LEVELS[2] + 1)):
        both = np.array([by_level[level] for by_level in scores])
        ours = written(tmp_path / "ours" / file)[first : first + LEVELS[level] + 1]
        number = ~np.isnan(both).all(axis=0)
        assert ours[-1] == percent(np.nanmean(both, axis=1).mean())
        assert [iou != "" for iou in ours[:-1]] == number.tolist()
        assert [iou for iou in ours[:-1] if iou] == [percent(iou) for iou in np.nanmean(both[:, number], axis=0)]


def level3_truth(idd: Frames, folder: Path) -> Path:
    """The labels as AutoNUE's createLabels.py makes them."""
    levels = np.full(256, 255, np.uint8)
    levels[: len(IDD_LEVELS)] = [row[0] for row in IDD_LEVELS]
    for row in csv.DictReader(idd.manifest.open()):
        image = Path(row["image"])
        name = image.name.split("_leftImg8bit")[0] + "_gtFine_labellevel3Ids.png"
        (folder / image.parent.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels[read_label(idd.root / row["label"])]).save(folder / image.parent.name / name)
    return folder


def written(path: Path) -> list[str]:
    return [row["iou"] for row in csv.DictReader(path.open())]


def percent(iou: float) -> str:
    return "" if np.isnan(iou) else f"{100 * iou:.4f}"


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_files_are_named_as_the_evaluators_look_for_them(city, idd, tmp_path) -> None:
    plan = {"mode": "resized", "crop": [64, 128], "size": [20, 30]}
    names = {}
    for form, data in (("cityscapes", city), ("idd", idd), ("native", idd)):
        model = tdnet(tmp_path / f"{form}.safetensors", data.classes)
        export_predictions(model, form, **data.arguments(), out=tmp_path / form, settings=plan)
        names[form] = files(tmp_path / form)
        for file in (tmp_path / form).rglob("*.png"):
            assert Image.open(file).mode == "L"
            assert Image.open(file).size == ((128, 64) if data is city else (96, 48)), (
                "its image's, not the counted one"
            )
    assert all(name.count("/") == 0 and name.endswith("_000019_labelIds.png") for name in names["cityscapes"][:2])
    images = [row["image"] for row in csv.DictReader(idd.manifest.open())]
    assert {Path(image).suffix for image in images} == {".png", ".jpg"}
    assert names["native"] == sorted(str(Path(image).with_suffix(".png")) for image in images)
    ends = [str(Path(*Path(image).parts[-2:])).split("_left")[0] for image in images]
    assert names["idd"] == sorted(f"{end}_gtFine_labellevel3Ids.png" for end in ends)
    for image, end in zip(images, ends, strict=True):
        native = read_label(tmp_path / "native" / Path(image).with_suffix(".png"))
        level3 = read_label(tmp_path / "idd" / f"{end}_gtFine_labellevel3Ids.png")
        assert np.array_equal(level3, np.array([row[0] for row in IDD_LEVELS])[native])


def test_nineteen_classes_on_idd_are_exported_as_level_3(idd, tmp_path) -> None:
    data = Frames(idd.root, idd.manifest, load_class_table("idd-cityscapes"))
    model = tdnet(tmp_path / "model.safetensors", data.classes)
    for form in ("idd", "native"):
        plan = {"mode": "resized", "crop": [64, 128]}
        export_predictions(model, form, **data.arguments(), out=tmp_path / form, settings=plan)
    native, level3 = ([read_label(p) for p in sorted((tmp_path / f).rglob("*.png"))] for f in ("native", "idd"))
    assert set(np.unique(native)) <= {c.id for c in data.classes.trained}
    assert np.array_equal(level3, np.array([row[0] for row in IDD_LEVELS])[native])


def refused(data: Frames, out: Path, form: str, says: str, model: Path | None = None, **more: Any) -> None:
    model = model or tdnet(out.parent / "model.safetensors", data.classes)
    before = files(out.parent)
    with pytest.raises(UserError, match=says):
        plan = {"mode": "resized", "crop": [64, 128]}
        export_predictions(model, form, **data.arguments(), out=out, settings=plan, **more)
    assert files(out.parent) == before, "nothing is left behind"


def test_what_a_form_cannot_hold_is_refused(city, idd, tiny, tmp_path) -> None:
    out = tmp_path / "out"
    refused(city, out, "kitti", "no form 'kitti' of predictions: choose cityscapes, idd, native")
    refused(idd, out, "cityscapes", "'idd' has 'road' with id 0, which is no label of the form 'cityscapes'")
    refused(tiny, out, "cityscapes", "'camvid' has 'sky' with id 0")
    refused(city, out, "idd", "'cityscapes' has 'road' with id 7")
    refused(city, out, "native", "has 2 paths, counted from 0, and none of number 2", path=2)
    refused(city, out, "native", "and none of number -1", path=-1)


@pytest.mark.parametrize(
    ("form", "image", "says"),
    [
        ("cityscapes", "old_town_000000_000019_leftImg8bit.png", "not named as images are in the form 'cityscapes'"),
        ("cityscapes", "town_0_19_leftImg8bit.png", "not named as images are"),
        ("cityscapes", "town_000000_000019.png", "not named as images are"),
        ("native", "../a.png", "not named as images are in the form 'native'"),
        ("native", "{0}", "would both be exported as .*_leftImg8bit.png: rename one"),
    ],
)
def test_an_image_without_a_file_of_its_own_is_named(city, tmp_path, form, image, says) -> None:
    (tmp_path / "data/sub").mkdir(parents=True)
    first = next(csv.DictReader(city.manifest.open()))
    own = first["image"].rpartition("/")[2]
    for name in (own, image.format(own.replace(".png", ".jpg"))):
        with Image.open(city.root / first["image"]) as picture:
            picture.save(tmp_path / "data/sub" / name)
    label = tmp_path / "data/label.png"
    label.write_bytes((city.root / first["label"]).read_bytes())
    listed = [(f"sub/{name}", "label.png") for name in (own, image.format(own.replace(".png", ".jpg")))]
    if image.startswith(".."):
        listed[1] = (f"../data/{image[3:]}", "label.png")
    refused(frames(tmp_path / "data", listed, CITYSCAPES), tmp_path / "out", form, says)


def test_a_folder_that_holds_anything_is_refused_and_an_empty_one_taken(city, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.png").write_bytes(b"somebody's")
    refused(city, out, "cityscapes", "out is a file or not empty: name another folder")
    (out / "old.png").unlink()
    model = tmp_path / "model.safetensors"
    plan = {"mode": "resized", "crop": [64, 128]}
    export_predictions(model, "cityscapes", **city.arguments(), out=out, settings=plan)
    assert len(files(out)) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "out"]


def test_a_damaged_image_leaves_no_half_of_a_folder(city, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    rows = list(csv.DictReader(city.manifest.open()))
    for number, row in enumerate(rows[:2]):
        name = row["image"].rpartition("/")[2]
        image = (city.root / row["image"]).read_bytes()
        (tmp_path / "data" / name).write_bytes(image if number == 0 else image[: len(image) // 2])
        (tmp_path / "data" / f"{number}.png").write_bytes((city.root / row["label"]).read_bytes())
    listed = [(row["image"].rpartition("/")[2], f"{number}.png") for number, row in enumerate(rows[:2])]
    refused(frames(tmp_path / "data", listed, CITYSCAPES), tmp_path / "out", "cityscapes", "is damaged")


def test_the_command_exports_what_the_function_does(city, tmp_path) -> None:
    """With prepared files: the labels of this dataset lie below its results."""
    labels = tmp_path / "results/prepared"
    listed = []
    for row in csv.DictReader(city.manifest.open()):
        (labels / row["label"]).parent.mkdir(parents=True, exist_ok=True)
        (labels / row["label"]).write_bytes((city.root / row["label"]).read_bytes())
        listed.append((row["image"], f"prepared:{row['label']}"))
    (tmp_path / "data").symlink_to(city.root)
    data = frames(tmp_path / "data", listed, CITYSCAPES, Root(tmp_path / "data", labels))
    model = tdnet(tmp_path / "model.safetensors", CITYSCAPES)
    options: dict[str, Any] = {
        "form": "native",
        "manifest": data.manifest,
        "root": tmp_path / "data",
        "results": tmp_path / "results",
        "classes": "cityscapes",
        "out": tmp_path / "by-command",
        "settings": '{"mode": "resized", "crop": [64, 128]}',
        "path": 1,
        "threads": 1,
        "device": "cpu",
    }
    result = CliRunner().invoke(command, [model.as_posix(), *(f"--{key}={value}" for key, value in options.items())])
    assert result.exit_code == 0, result.output
    plan = {"mode": "resized", "crop": [64, 128]}
    export_predictions(model, "native", **city.arguments(), out=tmp_path / "by-function", settings=plan, path=1)
    assert len(files(tmp_path / "by-command")) == 3
    for name in files(tmp_path / "by-function"):
        assert (tmp_path / "by-command" / name).read_bytes() == (tmp_path / "by-function" / name).read_bytes()
