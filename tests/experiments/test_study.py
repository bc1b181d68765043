"""The config: its schema, and what a study makes of it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from fewframes.core.errors import UserError
from fewframes.experiments.study import Study

REPOSITORY = Path(__file__).parents[2]
SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"
CATALOGUE = REPOSITORY / "workflow/experiments/catalogue.yaml"


def study(tmp_path, **changes):
    config = {"dataset": {"name": "d", "root": str(tmp_path)}, "training": {"tmanet": {}}, **changes}
    validate(config, SCHEMA)
    return Study(config, CATALOGUE)


def keys(schema, path=""):
    for name, block in schema.get("properties", {}).items():
        yield f"{path}{name}", block
        yield from keys(block, f"{path}{name}.")


def test_every_key_has_a_description_and_a_default():
    schema = yaml.safe_load(SCHEMA.read_text())
    # `toycity` generates data where it stands; the names of networks are chosen, not defaulted.
    chosen = {"dataset", "toycity", "training.tmanet"}
    for name, block in keys(schema):
        assert block.get("description"), name
        assert "default" in block or name in chosen, name
        assert block["type"] != "object" or block.get("additionalProperties") is False or block["default"] == {}, name


@pytest.mark.parametrize("config", ["config.yaml", *(f"workflow/configs/{n}.yaml" for n in ("camvid", "cityscapes"))])
def test_the_configs_of_the_repository_are_valid(config):
    loaded = yaml.safe_load((REPOSITORY / config).read_text())
    validate(loaded, SCHEMA)
    loaded["dataset"]["root"] = str(REPOSITORY)
    assert Study(loaded, CATALOGUE).experiments


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"experimnts": []}, "experimnts"),
        ({"training": {"tmanet": {"learning_rate": 1}}}, "learning_rate"),
        ({"training": {"tmanet": {"network": {"backbon": "x"}}}}, "backbon"),
        ({"training": {"segformer": {}}}, "segformer"),
        ({"shards": 0}, "shards"),
        ({"draws": ["x"]}, "draws"),
        ({"evaluation": {"mode": "all"}}, "mode"),
    ],
)
def test_a_typo_names_its_key(tmp_path, change, named):
    with pytest.raises(WorkflowError, match=named):
        study(tmp_path, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiments": ["b4"]}, "'b4' is unknown"),
        ({"experiments": ["n1"], "training": {}}, "names no network"),
        ({"propagation": {"method": "sam3"}}, "propagation method 'sam3' is unknown: choose one of"),
        ({"refinement": {"method": "magic"}}, "refinement method 'magic' is unknown: choose one of"),
        ({"quality": {"methods": ["magic"]}}, "'magic' is unknown"),
    ],
)
def test_what_a_schema_cannot_see_is_one_sentence(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        study(tmp_path, **change)


def test_a_missing_dataset_is_named_unless_it_is_generated(tmp_path):
    nowhere = {"dataset": {"name": "d", "root": str(tmp_path / "nowhere")}}
    with pytest.raises(UserError, match=r"nowhere does not exist: correct dataset\.root"):
        study(tmp_path, **nowhere)
    assert study(tmp_path, **nowhere, toycity={}).scan() == "absent"


def test_settings_are_one_block_a_stage(tmp_path):
    plain = study(tmp_path, experiments=["n1", "b3"])
    faster = study(tmp_path, experiments=["n1", "b3"], training={"tmanet": {"lr": 1}})
    assert plain.training_settings("tmanet") != faster.training_settings("tmanet")
    assert plain.plan_settings() == faster.plan_settings()
    assert plain.manifest_settings("propagated") == faster.manifest_settings("propagated")
    more = study(tmp_path, experiments=["n1", "b3", "coarse-50-refined"])
    assert plain.manifest_settings("propagated") == more.manifest_settings("propagated")


def test_parsing_imports_nothing_heavy():
    code = (
        "import sys, fewframes.experiments.study, fewframes.core.stages;"
        "print({'torch', 'cv2', 'pandas', 'h5py', 'matplotlib', 'PIL'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
