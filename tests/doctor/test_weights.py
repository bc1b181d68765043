"""SAM 2's weights and configuration before a run: what is not fetched yet is a warning, what cannot be used a fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from fewframes.core.weights import published
from fewframes.labelling.models import sam2
from fewframes.labelling.models.sam2 import build_model, model_config

TINY = published("sam2.1_hiera_tiny")
UNFETCHED = "published weights that are not fetched yet"
UNUSABLE = "weights that propagation.sam2 cannot use"
UNBUILT = "configurations that cannot be built"
UNFIT = "weights that do not fit"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save({"model": build_model("small").state_dict()}, path)
    return path


@pytest.fixture
def propagating(patient, checkpoint):
    """The examination of a study that measures SAM 2 and trains nothing; `small.pt` and `own.yaml` are at hand."""
    (patient.folder / "small.pt").symlink_to(checkpoint)
    (patient.folder / "own.yaml").write_text(yaml.safe_dump({"model": model_config("small", 128)}))
    patient.config["experiments"] = []
    patient.config["quality"]["methods"] = ["sam2"]

    def examine(**settings):
        patient.config["propagation"] = {"sam2": settings}
        return patient.examine()

    return examine


@pytest.mark.parametrize("config", ["small", "own.yaml"])
def test_a_local_file_that_fits_has_nothing(propagating, config):
    report = propagating(weights="small.pt", config=config)
    assert report.rows == []
    assert f"✓ Weights   propagation.sam2: 1.8 million numbers, small.pt as {config}" in report.text()


def test_safetensors_are_as_good(propagating, checkpoint):
    safetensors.torch.save_file(torch.load(checkpoint)["model"], "small.safetensors")
    assert propagating(weights="small.safetensors", config="small", image_size=64).rows == []


def test_what_is_not_fetched_yet_is_a_warning_with_its_size(propagating):
    report = propagating(weights=TINY.name)
    (row,) = report.rows
    assert (row.group, row.severity, row.what) == ("Weights", "warning", UNFETCHED)
    assert (row.name, row.detail) == ("weights/sam2.1_hiera_tiny.pt", "156 MB")
    assert "rule `weights`" in row.mend and f"`fewframes fetch {TINY.name} --folder weights`" in row.mend
    assert report.exit_code == 0 and f"{TINY.name}, to be fetched" in report.text()
    assert max(map(len, report.text().splitlines())) <= 100


def test_random_weights_are_refused_as_the_workflow_does_it(propagating, patient):
    report = propagating(weights="random", config="small")
    (row,) = report.rows
    assert (row.group, row.severity, row.what) == ("Weights", "fault", "weights that the workflow refuses")
    assert "mean nothing" in row.detail and "allow_random_weights" in row.mend and report.exit_code == 1
    patient.config["allow_random_weights"] = True
    assert propagating(weights="random", config="small").rows == []


def test_weights_that_were_fetched_and_are_gone_are_refused_as_the_workflow_does_it(propagating, patient):
    patient.put(patient.folder / "results/toy/weights" / f"{TINY.name}.fetched", b"")
    fault, _ = propagating(weights=TINY.name).rows
    assert (fault.what, fault.severity) == ("weights that the workflow refuses", "fault")
    assert "are gone" in fault.detail and fault.mend.startswith(f"Run `fewframes fetch {TINY.name}")


def test_published_weights_have_a_configuration_of_their_own(propagating):
    (row,) = propagating(weights=TINY.name, config="small").rows
    assert (row.severity, row.what) == ("fault", UNUSABLE) and "leave" in row.mend.lower()


def test_sams_models_are_looked_at_too(patient, checkpoint):
    patient.config["experiments"] = ["coarse-50-refined"]
    (patient.folder / "small.pt").symlink_to(checkpoint)
    cases = {"vit_x": ("weights that refinement.sam_points cannot use", "Set"), "small": (UNFIT, "Give")}
    for config, (what, mend) in cases.items():
        block = {"weights": "small.pt", "config": config}
        patient.config["refinement"] = {"method": "sam_points", "sam_points": block}
        (row,) = [row for row in patient.examine().rows if row.group == "Weights"]
        assert (row.severity, row.what) == ("fault", what) and row.mend.startswith(mend)


FAULTS: dict[str, tuple[dict[str, object], str, str, str]] = {
    "damaged": ({"weights": TINY.name}, UNUSABLE, TINY.name, "Remove it and run `fewframes fetch"),
    "of no known model": ({"weights": "small.pt"}, UNUSABLE, "small.pt", "Set propagation.sam2.config."),
    "random, of no model": ({"weights": "random"}, UNUSABLE, "random", "Set propagation.sam2.config (`small`"),
    "unknown config": (
        {"weights": "small.pt", "config": "sam3"},
        UNBUILT,
        "sam3",
        "Name compact, small, sam2.1_hiera_t",
    ),
    "no config": ({"weights": "small.pt", "config": "no.yaml"}, UNBUILT, "no.yaml", "It needs a key 'model'"),
    "absent config": ({"weights": "small.pt", "config": "gone.yaml"}, UNBUILT, "gone.yaml", "Correct it."),
    "another model's": ({"weights": "small.pt", "config": "wide.yaml"}, UNFIT, "small.pt", "Give the checkpoint"),
    "no weights": ({"weights": "no.yaml", "config": "small"}, UNFIT, "no.yaml", "Give the checkpoint of that"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_used_is_a_fault_and_nothing_else_is(propagating, patient, name):
    settings, what, named, mend = FAULTS[name]
    patient.put(patient.folder / "weights" / TINY.file, b"<html>Please log in</html>")
    wide = model_config("small")
    wide["memory_encoder"]["out_dim"] = 32
    Path("wide.yaml").write_text(yaml.safe_dump({"model": wide}))
    Path("no.yaml").write_text("trainer: {}")
    report = propagating(**settings)
    (row,) = report.rows
    assert (row.group, row.severity, row.what, row.name) == ("Weights", "fault", what, named)
    assert row.mend.startswith(mend) and row.mend.endswith(".") and report.exit_code == 1


@pytest.mark.parametrize(
    ("weights", "mend"), [("absent.pt", "Correct"), ("sam_vit_b", "Set propagation.sam2.weights to one of")]
)
def test_what_the_workflow_itself_would_refuse_is_a_fault(propagating, weights, mend):
    (row,) = propagating(weights=weights, config="small").rows
    assert row.severity == "fault" and weights in f"{row.name}: {row.detail}" and row.mend.startswith(mend)


def test_a_configuration_is_looked_at_before_its_weights_are_fetched(propagating):
    Path("own.yaml").write_text("model: {image_size: 64, image_encoder: {}}")
    report = propagating(weights=TINY.name, config="own.yaml")
    assert [(row.severity, row.what) for row in report.rows] == [("fault", UNBUILT), ("warning", UNFETCHED)]


def test_weights_lie_where_the_config_says(propagating, patient):
    patient.config["weights"] = "elsewhere"
    (row,) = propagating(weights=TINY.name).rows
    assert row.name == f"elsewhere/{TINY.file}" and "--folder elsewhere`" in row.mend


def test_sam2_is_looked_at_where_it_propagates_and_nowhere_else(patient, monkeypatch):
    monkeypatch.setattr(sam2, "build_model", None)  # nor is it built
    patient.put(patient.folder / "some.pt", b"weights of no known model")
    found = [(UNUSABLE, "some.pt")]
    patient.config |= {"experiments": ["n1"], "propagation": {"method": "sam2", "sam2": {"weights": "some.pt"}}}
    assert patient.examine().rows == []  # one experiment, which trains on annotated frames alone
    patient.config["experiments"] = ["b3"]
    assert [(row.what, row.name) for row in patient.examine().rows] == found
    patient.config |= {"experiments": [], "quality": {}}
    assert patient.examine().rows == []
    patient.config["propagation"]["offsets"] = [-1, 1]
    assert [(row.what, row.name) for row in patient.examine().rows] == found


def test_a_networks_published_weights_are_fetched_later_and_then_checked(patient):
    backbone = published("resnet50c.gluon_in1k")
    patient.config["training"]["tmanet"]["network"] |= {"backbone": backbone.config, "pretrained": backbone.name}
    report = patient.examine()
    (row,) = report.rows
    assert (row.group, row.severity, row.what) == ("Weights", "warning", UNFETCHED)
    assert row.name == f"weights/{backbone.file}" and report.exit_code == 0
    assert f"starting from {backbone.name}" in report.text()
    patient.put(patient.folder / row.name, b"other weights")
    (row,) = patient.examine().rows
    assert (row.severity, row.what, Path(row.name).name) == ("fault", "weights of a wrong checksum", backbone.file)
