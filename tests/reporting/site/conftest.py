"""A small study's results as the stages write them, for the report to be made of."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scored import write_confusion

from fewframes.core.clips import LABEL_COLUMNS, Clip, write_clips
from fewframes.core.files import write_csv
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.experiments.schemes import load_catalogue
from fewframes.reporting.claims import write_claims
from fewframes.reporting.gallery import write_gallery
from fewframes.reporting.site import Study, write_site
from fewframes.reporting.statistics import Grid
from fewframes.reporting.tables import write_table

WORKFLOW = Path(__file__).parents[3] / "workflow"
EXPERIMENTS = WORKFLOW / "experiments"
CLASSES = load_class_table("cityscapes")
CATALOGUE = load_catalogue(EXPERIMENTS / "catalogue.yaml")
CLIPS = [
    Clip(f"clip{i}", "train", f"clip{i}", f"{i}_010.png", f"{i}_{{frame:03d}}.png", 10, 1, -9, 9) for i in range(8)
]
HITS = {"n1": 90, "b3": 84, "b3-fine": 70, "p2": 88}
"""Of 100 pixels of an image, how many are right; `p2` is asked for as well, and was never run."""
DRAWN = {"n1": 1, "b3": 3, "b3-fine": 3, "p2": 2}
"""Clips with a sample each."""


class Made:
    """A folder of results, and the report of it."""

    def __init__(self, results: Path, runs: bool = True) -> None:
        self.results = results
        self.page = results / "report.html"
        draws = {id_: (0,) if id_ == "n1" else (0, 1, 2) for id_ in HITS} if runs else {}
        self.grid = Grid(results, ("tmanet",) if runs else (), draws, (0, 1, 2) if runs else ())
        self.config = {"dataset": {"name": "toy", "root": str(results / "data"), "reader": "video"}, "draws": [0, 1, 2]}
        self.note = "Toy numbers."

    @property
    def files(self) -> list[Path]:
        """All that there is to show."""
        return sorted(p for folder in ("tables", "figures", "quality") for p in (self.results / folder).rglob("*.*"))

    def write(self, **given) -> str:
        """Make the report and read it."""
        labelled = given.pop("labelled", {"pseudo": ["flow"]})
        said = {"config": self.config, "note": self.note, **given}
        study = Study(self.results, said["config"], self.grid, CATALOGUE, CLASSES, labelled, said["note"])
        write_site(study, self.files, WORKFLOW / "report", self.page)
        return self.page.read_text(encoding="utf-8")

    def with_clips(self) -> "Made":
        write_clips(self.results / "index.csv", CLIPS)
        write_csv(self.results / "eligible.csv", ("clip", "reason"), [(clip.id, "") for clip in CLIPS])
        return self

    def with_runs(self) -> "Made":
        chance = np.random.default_rng(0)
        for id_, draws in self.grid.experiments.items():
            for draw in draws:
                samples = [(f"clip{(draw + i) % 8}", 0, "fine", "x.png") for i in range(12 // DRAWN[id_])]
                write_csv(
                    self.results / f"manifests/{id_}/draw{draw}.csv", ("clip", "offset", "source", "label"), samples
                )
                for seed in self.grid.seeds if id_ != "p2" else ():
                    self._run(self.grid.run("tmanet", id_, draw, seed), HITS[id_] + chance.integers(-2, 3, 8))
        return self

    def _run(self, folder: Path, hits: np.ndarray) -> None:
        confusion = np.zeros((8, len(CLASSES.names), len(CLASSES.names)), np.int64)
        confusion[:, 0, 0], confusion[:, 0, 1], confusion[:, 1, 1] = hits, 100 - hits, 100
        folder.mkdir(parents=True)
        write_confusion(folder, [clip.id for clip in CLIPS], confusion)
        mean = hits.mean()
        write_csv(folder / "metrics.csv", ("class", "iou", "accuracy", "pixels"), [("mean", mean, mean, 800)])
        (folder / "training.json").write_text(json.dumps({"parameters": 1234567, "pretrained": "ab" * 32}))

    def with_tables(self) -> "Made":
        for write, name in ((write_table, "table1"), (write_table, "table3"), (write_claims, "claims")):
            out = self.results / "tables" / name
            write(EXPERIMENTS / f"{name}.yaml", CATALOGUE, self.grid, CLASSES, out, dataset="toy", note=self.note)
        return self

    def with_figures(self) -> "Made":
        noise = np.random.default_rng(0).integers(0, 256, (400, 1700, 3), np.uint8)
        folder = self.results / "figures"
        folder.mkdir()
        for name in ("cost", "figure4", "quality", "signals"):
            Image.fromarray(noise[:120, :200] // 8 + 200).save(folder / f"{name}.png")
        Image.fromarray(noise).save(folder / "figure2.png")
        (folder / "cost.pdf").write_bytes(b"%PDF")
        return self

    def with_labels(self, most: int = 200) -> "Made":
        """Labels of eight clips at two offsets, the first clip's claimed least, with a page of the worst of them."""
        rows = []
        for i, clip in enumerate(CLIPS):
            for frame in (8, 10, 12):
                path = self.results / "data" / f"{i}_{frame:03d}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(np.full((16, 32, 3), 100, np.uint8)).save(path)
            label = np.zeros((16, 32), np.uint8)
            label[:, : 16 - 2 * i] = IGNORE
            layers = {offset: Layer(label if offset else label * 0, "f") for offset in (-2, 0, 2)}
            file = f"pseudo/flow/labels/{clip.id}.h5"
            told = {"method": "flow", "version": 2, "settings": {"weights": "ab" * 32, "reach": 3}}
            write_label_file(self.results / file, layers, told)
            rows += [(clip.id, offset, file, "f", layer.checksum) for offset, layer in layers.items()]
        collected = self.results / "pseudo/flow/labels.csv"
        write_csv(collected, LABEL_COLUMNS, rows)
        gallery = self.results / "figures" / "labels-flow.html"
        data = self.results / "data"
        write_gallery(CLIPS, collected, data, None, self.results, CLASSES, gallery, most=most, note=self.note)
        return self

    def with_quality(self) -> "Made":
        measured = ("method", "offset", "class", "frames", "coverage", "iou_claimed", "iou_copy", "iou_all")
        rows = [("flow", f"±{d}", name, 16, 99 - d, 90, 60, 80 - d) for d in (1, 2, 10) for name in ("road", "mean")]
        write_csv(self.results / "quality/flow.csv", measured, [*rows, ("flow", "-1", "mean", 8, 99, 90, 60, 80)])
        scores = [
            f"{m}_{s}" for m in ("coverage", "iou_claimed", "iou_all", "boundary_iou") for s in ("coarse", "refined")
        ]
        gains = [f"{m}_gain" for m in ("coverage", "iou_claimed", "iou_all", "boundary_iou")]
        refined = [
            ("grabcut", name, *(8 * [50]), *gained) for name, gained in (("road", (1, -2, 0, "")), ("mean", 4 * [3]))
        ]
        write_csv(self.results / "quality/refinement/grabcut.csv", ("method", "class", *scores, *gains), refined)
        signals = ("method", "coverage", "confidence", "presence", "steadiness", "cycle", "agreement", "iou")
        told = [("flow", 0.5, 0.25, "", "", 0.5, "", 0.5), ("flow", 1, 0.75, "", "", "", 1, "")]
        write_csv(self.results / "quality/signals/flow.csv", signals, told)
        return self


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A whole study: some runs are missing, all kinds of files are there."""
    whole = Made(tmp_path_factory.mktemp("made") / "toy").with_clips().with_runs().with_tables().with_figures()
    return whole.with_labels().with_quality()


@pytest.fixture
def made(whole, tmp_path):
    """A copy of the whole study."""
    shutil.copytree(whole.results, tmp_path / "toy")
    return Made(tmp_path / "toy")


@pytest.fixture
def labels_alone(tmp_path):
    """A study without trainings."""
    return Made(tmp_path / "toy", runs=False).with_clips().with_labels()
