"""What propagated labels leave unlabelled, filled by a trained network."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewframes.core.clips import LABEL_COLUMNS
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, read_csv
from fewframes.core.labelfile import Layer, read_label_layer, read_layer, read_provenance, write_label_file
from fewframes.experiments.manifests import write_filled
from fewframes.learning import filling
from fewframes.learning.evaluation import EvaluationSettings, predict
from fewframes.learning.modelfile import load_model, save_model
from fewframes.learning.networks import build_network
from fewframes.learning.samples import SampleReader, read_manifest

WHOLE = {"mode": "whole"}


@pytest.fixture
def gaps(own_tiny) -> Any:
    """The tiny dataset, whose propagated labels claim nothing in their right halves."""
    for sample in read_manifest(own_tiny.manifest):
        if sample.in_label_file:
            label = read_label_layer(own_tiny.labels_root / sample.label, sample.offset)
            label[:, 32:] = 255
            write_label_file(own_tiny.labels_root / sample.label, {sample.offset: Layer(label, "f")}, {})
    return own_tiny


@pytest.fixture
def model(gaps, settings, tmp_path) -> Path:
    torch.manual_seed(0)
    structure = settings["network"]
    path = tmp_path / "model.safetensors"
    save_model(path, build_network(structure, len(gaps.classes.names)), structure, gaps.classes)
    return path


def filled(data: Any, model: Path, settings: dict[str, Any] = WHOLE) -> dict[str, dict[str, str]]:
    """Fill all, and return the rows that are declared, by clip."""
    results, out = data.labels_root, data.labels_root / "filled/x/draw0.csv"
    labels = results / "filled/x/labels"
    filling.fill(model, data.manifest, data.root, results, data.classes, labels, out, settings)
    return {row["clip"]: row for row in read_csv(out, LABEL_COLUMNS)}


def times(data: Any) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (data.labels_root / "filled/x/labels").rglob("*.h5")}


def test_only_what_propagation_left_is_filled_and_by_the_network(gaps, model) -> None:
    rows = filled(gaps, model)
    assert rows.keys() == {"clip1", "clip3"}, "not the labels that a person drew"
    network, reader = load_model(model, gaps.classes), SampleReader(gaps.root, gaps.labels_root, gaps.classes)
    for sample in read_manifest(gaps.manifest):
        if sample.clip in rows:
            frames, before = reader(sample)
            made = read_label_layer(gaps.labels_root / rows[sample.clip]["file"], sample.offset)
            predicted = predict(network, frames, EvaluationSettings(**WHOLE), torch.device("cpu"))
            np.testing.assert_array_equal(made[:, :32], before[:, :32])
            np.testing.assert_array_equal(made[:, 32:], predicted[:, 32:])
            told = read_provenance(gaps.labels_root / rows[sample.clip]["file"])
            assert told["model"] == model.as_posix() and told["clip"] == sample.clip


def test_what_is_filled_is_found_and_only_what_changed_is_filled_again(gaps, model, tmp_path, monkeypatch) -> None:
    rows, before = filled(gaps, model), times(gaps)
    with monkeypatch.context() as patch:
        patch.setattr(filling, "load_model", None)  # not even the network is loaded
        shutil.copy(model, tmp_path / "copy.safetensors")
        assert filled(gaps, tmp_path / "copy.safetensors") == rows
        assert times(gaps) == before

    # Another label of one clip, which its manifest tells of.
    text = gaps.manifest.read_text().splitlines()
    gaps.manifest.write_text("\n".join(f"{line[:-1]}x" if line.startswith("clip1") else line for line in text) + "\n")
    again = filled(gaps, model)
    assert again["clip3"] == rows["clip3"] and again["clip1"]["fingerprint"] != rows["clip1"]["fingerprint"]
    after = times(gaps)
    assert {name for name in before if after[name] != before[name]} == {Path(rows["clip1"]["file"]).name}

    # Another way to show frames, and another network: other labels, beside the old ones.
    others = filled(gaps, model, {"mode": "slide", "crop": [32, 48], "stride": [16, 16]})
    assert all(others[clip]["file"] != again[clip]["file"] for clip in others)


def test_a_damaged_label_file_is_made_again(gaps, model) -> None:
    rows = filled(gaps, model)
    (gaps.labels_root / rows["clip1"]["file"]).write_bytes(b"half")
    assert filled(gaps, model) == rows
    assert read_layer(gaps.labels_root / rows["clip1"]["file"], 10).notes["unfilled"] == "flow/1.h5"


def test_a_label_file_that_goes_meanwhile_is_named(gaps, model, monkeypatch) -> None:
    file = gaps.labels_root / filled(gaps, model)["clip1"]["file"]
    # The last that is said before the rows are written.
    monkeypatch.setattr(filling, "say", lambda _: file.unlink())
    with pytest.raises(UserError, match=rf"{file.name} is missing or damaged: run `fewframes verify --mend`"):
        filled(gaps, model)


def test_labels_of_random_weights_stay_marked(gaps, model) -> None:
    moved = gaps.labels_root / "flow/random-weights/1.h5"
    moved.parent.mkdir()
    (gaps.labels_root / "flow/1.h5").rename(moved)
    gaps.manifest.write_text(gaps.manifest.read_text().replace("flow/1.h5", "flow/random-weights/1.h5"))
    rows = filled(gaps, model)
    assert Path(rows["clip1"]["file"]).parent.name == "random-weights" != Path(rows["clip3"]["file"]).parent.name


def test_a_network_that_takes_more_past_frames_is_refused(gaps, settings, tmp_path) -> None:
    structure = {**settings["network"], "past_frames": 2}
    model = tmp_path / "deeper.safetensors"
    save_model(model, build_network(structure, len(gaps.classes.names)), structure, gaps.classes)
    with pytest.raises(UserError, match="1 past frames a sample and the network takes 2"):
        filled(gaps, model)


def test_the_filled_manifest_differs_where_a_label_was_filled(gaps, model, tmp_path) -> None:
    filled(gaps, model)
    out, hashes = tmp_path / "x/draw0.csv", ContentHashes(tmp_path / "hashes", "test")
    write_filled(gaps.manifest, gaps.labels_root / "filled/x/draw0.csv", out, gaps.root, hashes)
    assert next(csv.reader(out.open())) == next(csv.reader(gaps.manifest.open()))
    before, after = read_manifest(gaps.manifest), read_manifest(out)
    for old, new in zip(before, after, strict=True):
        if old.source == "fine":
            assert new == old
        else:
            assert new.source == "filled:flow" and new.label.startswith("filled/x/labels/")
            assert replace(new, source="", label="", fingerprint="") == replace(
                old, source="", label="", fingerprint=""
            )
    # A training looks whether files are still those that its manifest was written of.
    SampleReader(gaps.root, gaps.labels_root, gaps.classes).check_files(after, hashes)

    (gaps.labels_root / "filled/x/draw0.csv").write_text(",".join(LABEL_COLUMNS) + "\n")
    with pytest.raises(UserError, match=r"No label of clip1 at offset \+10"):
        write_filled(gaps.manifest, gaps.labels_root / "filled/x/draw0.csv", out, gaps.root, hashes)
