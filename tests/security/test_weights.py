"""Weights, checkpoints, models and configurations made to do harm: each is refused, and nothing of it is run."""

import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.doctor import examine
from fewframes.labelling.models.loading import load_weights
from fewframes.labelling.models.sam2 import model_config
from fewframes.learning.checkpoints import CheckpointFile
from fewframes.learning.modelfile import load_model, save_model
from fewframes.learning.networks import build_network
from fewframes.learning.networks.state import read_state

REPOSITORY = Path(__file__).parents[2]
CLASSES = load_class_table("camvid")


class Harm:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


@pytest.fixture
def pwned(tmp_path):
    path = tmp_path / "pwned"
    yield path
    assert not path.exists(), "it was carried out"


def test_weights_are_never_unpickled(tmp_path, pwned, capsys):
    path = tmp_path / "last.pt"
    torch.save({"weight": Harm(pwned), "model": Harm(pwned), "fingerprint": "f"}, path)
    with pytest.raises(UserError, match="holds more than tensors"):
        load_weights(nn.Linear(1, 1), path, "test", within="model")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        read_state(path)
    assert CheckpointFile(tmp_path, "f").load() is None
    assert "is damaged" in capsys.readouterr().err


def test_the_tests_own_harm_is_harmful(tmp_path):
    torch.save(Harm(tmp_path / "done"), tmp_path / "harm.pt")
    torch.load(tmp_path / "harm.pt", weights_only=False)
    assert (tmp_path / "done").is_dir()


NETWORK = {
    "name": "tmanet",
    "backbone": "mobilenetv3_small_050",
    "output_stride": 16,
    "key_channels": 8,
    "value_channels": 8,
    "head_channels": 16,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(NETWORK, len(CLASSES.names)), NETWORK, CLASSES)
    return path


def changed(model, path, **network):
    facts = {"network": {**NETWORK, "pretrained": None, **network}, "classes": CLASSES.names}
    safetensors.torch.save_file(safetensors.torch.load_file(model), path, {"fewframes": json.dumps(facts)})
    return path


def test_a_model_names_no_other_file(model, tmp_path, pwned):
    torch.save(Harm(pwned), tmp_path / "other.pt")
    path = changed(model, tmp_path / "m.safetensors", pretrained=str(tmp_path / "other.pt"))
    assert not load_model(path, CLASSES).training


@pytest.mark.parametrize(
    "network",
    [
        {"backbone": "hf-hub:somebody/something"},
        {"backbone": "local-dir:/etc"},
        {"backbone": 3},
        {"head_channels": 10**9},
        {"past_frames": -1},
        {"name": ["tmanet"]},
        {"value_channels": "many"},
    ],
)
def test_a_model_with_settings_of_another_is_refused_before_it_takes_memory(model, tmp_path, network):
    with pytest.raises(UserError):
        load_model(changed(model, tmp_path / "m.safetensors", **network), CLASSES)


@pytest.mark.parametrize("facts", ["[]", "{", "null", '{"network": [], "classes": []}', '{"classes": 3}', "[" * 10**5])
def test_a_model_with_other_facts_is_refused(model, tmp_path, facts):
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"fewframes": facts})
    with pytest.raises(UserError, match=r"m\.safetensors is no model of Fewframes"):
        load_model(path, CLASSES)


def own_sam2(tmp_path, *, within=(), **values):
    """A configuration with a part changed."""
    config = {"model": {"image_size": 512, "image_encoder": {"trunk": {"embed_dim": 24}}}}
    part = config["model"]
    for key in within:
        part = part[key]
    part.update(values)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_a_configuration_of_sam2_runs_nothing(tmp_path, pwned):
    worked_out = "${oc.create:{_target_:os.mkdir,path:" + str(pwned) + "}}"
    for config in (
        own_sam2(tmp_path, num_maskmem=worked_out),
        own_sam2(tmp_path, parts=[{"deeper": worked_out}]),
        own_sam2(tmp_path, **{worked_out: 1}),
    ):
        with pytest.raises(UserError, match=r"own\.yaml has '\$\{oc.create.*write the value"):
            model_config(config)
    with pytest.raises(UserError, match=r"names os\.mkdir, which is no model class"):
        model_config(own_sam2(tmp_path, num_maskmem={"_target_": "os.mkdir", "path": str(pwned)}))
    with pytest.raises(UserError, match="has a weights_path: leave it out"):
        model_config(own_sam2(tmp_path, within=["image_encoder", "trunk"], weights_path=str(tmp_path / "x.pt")))
    (tmp_path / "own.yaml").write_text(f"model: !!python/object/apply:os.mkdir ['{pwned}']")
    with pytest.raises(UserError, match="is no readable YAML"):
        model_config(str(tmp_path / "own.yaml"))


def test_yaml_makes_no_objects(tmp_path, pwned):
    (tmp_path / "t.yaml").write_text(f"classes: !!python/object/apply:os.mkdir ['{pwned}']")
    with pytest.raises(UserError, match="no readable YAML"):
        load_class_table(tmp_path / "t.yaml")


def test_the_doctor_runs_nothing_of_a_config(tmp_path, pwned):
    # Snakemake does, where this key stands at the top.
    program = {"__use_yte__": True, "__definitions__": ["import os", f"os.mkdir({str(pwned)!r})"]}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**program, "dataset": {"name": "d", "root": str(tmp_path)}}))
    report = examine(tmp_path / "c.yaml", REPOSITORY, workers=1)
    assert report.exit_code == 1 and "__use_yte__" in report.text()
