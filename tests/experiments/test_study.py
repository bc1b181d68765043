"""The config: its schema, and what a study makes of it."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from fewframes.core.errors import UserError
from fewframes.datasets.toycity import ToyCitySettings
from fewframes.experiments.study import Study
from fewframes.labelling.models.chosen import ModelHousekeeping
from fewframes.labelling.propagation.flow import FlowSettings
from fewframes.labelling.propagation.sam2.policy import Policy
from fewframes.labelling.propagation.sam2.settings import Sam2Settings
from fewframes.labelling.refinement.automasks.settings import AutomaskSettings
from fewframes.labelling.refinement.grabcut import GrabCutSettings
from fewframes.labelling.refinement.sam.settings import BoxSettings, GuardedPointsSettings, Housekeeping, PointsSettings

REPOSITORY = Path(__file__).parents[2]
SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"
CONFIGS = REPOSITORY / "workflow/configs"
CATALOGUE = REPOSITORY / "workflow/experiments/catalogue.yaml"

RUN = "n1/draw0-seed0"


def study(tmp_path, **changes):
    config = {"dataset": {"name": "d", "root": str(tmp_path)}, "training": {"tmanet": {}}, **changes}
    validate(config, SCHEMA)
    return Study(config, CATALOGUE)


def keys(schema, path=""):
    for name, block in schema.get("properties", {}).items():
        yield f"{path}{name}", block
        yield from keys(block, f"{path}{name}.")


def defaults_of(schema, *path):
    for key in path:
        schema = schema["properties"][key]
    return {name: block["default"] for name, block in schema["properties"].items() if "default" in block}


def test_defaults_are_the_codes_own():
    schema = yaml.safe_load(SCHEMA.read_text())
    assert defaults_of(schema, "propagation", "flow") == asdict(FlowSettings())
    assert defaults_of(schema, "refinement", "grabcut") == asdict(GrabCutSettings())
    run = {"max_batch": ModelHousekeeping().max_batch, "device": ModelHousekeeping().device}
    prompted = {"sam_points": PointsSettings, "sam_points_guarded": GuardedPointsSettings, "sam_box": BoxSettings}
    for method, settings in prompted.items():
        images = {"images_at_once": Housekeeping().images_at_once}
        assert defaults_of(schema, "refinement", method) == asdict(settings()) | run | images
    assert defaults_of(schema, "refinement", "automask") == asdict(AutomaskSettings()) | run
    assert defaults_of(schema, "propagation", "sam2") == asdict(Sam2Settings()) | asdict(Policy()) | run
    city = asdict(ToyCitySettings())
    assert {**city, **defaults_of(schema, "toycity")} == city


def test_every_key_has_a_description_and_a_default():
    schema = yaml.safe_load(SCHEMA.read_text())
    # `toycity` generates data where it stands; the names of networks are chosen, not defaulted.
    chosen = {"dataset", "toycity", "training.tmanet", "training.tdnet"}
    for name, block in keys(schema):
        assert block.get("description"), name
        assert "default" in block or name in chosen, name
        # What a reader understands is the reader's to check.
        assert block["type"] != "object" or block.get("additionalProperties") is False or name == "dataset.options"


@pytest.mark.parametrize(
    "config", ["config.yaml", *sorted(f"workflow/configs/{p.name}" for p in CONFIGS.glob("*.yaml"))]
)
def test_the_configs_of_the_repository_are_valid(config, tmp_path):
    loaded = yaml.safe_load((REPOSITORY / config).read_text())
    validate(loaded, SCHEMA)
    loaded["dataset"]["root"] = str(tmp_path)
    found = Study(loaded, CATALOGUE)
    assert found.experiments or found.measured


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"experimnts": []}, "experimnts"),
        ({"training": {"tmanet": {"learning_rate": 1}}}, "learning_rate"),
        ({"training": {"tmanet": {"network": {"backbon": "x"}}}}, "backbon"),
        ({"training": {"segformer": {}}}, "segformer"),
        ({"shards": 0}, "shards"),
        ({"propagation": {"flow": {"max_disagree": 1}}}, "max_disagree"),
        ({"refinement": {"none": {"x": 1}}}, "'x'"),
        ({"dataset": {"name": "d", "root": ".", "reader": "cityscape"}}, "cityscape"),
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


@pytest.mark.parametrize("offsets", [[5, -5], [0, 0]])
def test_offsets_that_label_nothing_are_refused(tmp_path, offsets):
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="give the first and the last offset"):
        study(tmp_path / "data", results=str(tmp_path / "r"), propagation={"offsets": offsets})


def test_results_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is no folder that you may write to"):
        study(tmp_path / "data", results=str(tmp_path / "file"))
    with pytest.raises(UserError, match="lies in the dataset's own"):
        study(tmp_path / "data", results=str(tmp_path / "data/results"))


def test_other_backbone_weights_are_noticed_and_absent_ones_named(tmp_path):
    weights = tmp_path / "resnet.safetensors"
    changed = {"training": {"tmanet": {"network": {"pretrained": str(weights)}}}}
    with pytest.raises(UserError, match=r"resnet\.safetensors does not exist"):
        study(tmp_path, **changed).check_weights()
    weights.write_text("1")
    before = study(tmp_path, **changed).trainings.stamp("tmanet")
    weights.write_text("22")
    assert study(tmp_path, **changed).trainings.stamp("tmanet") != before != ""
    assert study(tmp_path).trainings.stamp("tmanet") == ""


def test_published_backbone_weights_are_waited_for_and_checked(tmp_path):
    chosen = {"pretrained": "resnet18-5c106cde"}
    blocks = {"tmanet": {"network": {"pretrained": "resnet50c.gluon_in1k"}}, "tdnet": {"network": {**chosen}}}
    data, results = tmp_path / "data", tmp_path / "results"
    data.mkdir()
    made = study(data, training=blocks, weights="w", results=str(results)).trainings
    assert [Path(file).name for file in made.waits_for("tdnet", RUN)] == ["resnet18-5c106cde.fetched"]
    assert json.loads(made.settings("tdnet", RUN))["network"]["pretrained"] == "resnet18-5c106cde"
    assert json.loads(made.housekeeping("tdnet"))["weights_folder"] == "w"
    made.check_weights()
    noted = Path(made.waits_for("tdnet", RUN)[0])
    noted.parent.mkdir(parents=True)
    noted.touch()
    with pytest.raises(UserError, match=r"w/resnet18-5c106cde.pth were fetched and are gone: run `fewframes fetch"):
        made.check_weights()
    assert made.stamp("tdnet") == ""
    for wrong in ({"tmanet": {"network": {**chosen}}}, {"tdnet": {"network": {"pretrained": "sam_vit_b"}}}):
        with pytest.raises(UserError, match=r"weights of .*, and the network is built on resnet"):
            study(tmp_path, training=wrong)


def test_a_teacher_is_the_same_run_of_another_network_or_a_file(tmp_path):
    made = study(tmp_path, training={"tmanet": {}, "tdnet": {"teacher": "tmanet"}}).trainings
    model = made.waits_for("tdnet", RUN)
    assert [Path(file).parts[-4:] for file in model] == [("tmanet", "n1", "draw0-seed0", "model.safetensors")]
    assert json.loads(made.settings("tdnet", RUN))["teacher"] == model[0]
    assert made.waits_for("tmanet", RUN) == []
    assert json.loads(made.settings("tmanet", RUN))["teacher"] is None
    file = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match=r"no file of a trained model and no network of this config"):
        study(tmp_path, training={"tdnet": {"teacher": str(file)}})
    file.touch()
    assert study(tmp_path, training={"tdnet": {"teacher": str(file)}}).trainings.waits_for("tdnet", RUN) == [str(file)]
    for teacher in ("tdnet", "tmanet"):
        with pytest.raises(UserError, match="which has a teacher or is the pupil itself"):
            study(tmp_path, training={"tmanet": {"teacher": "tdnet"}, "tdnet": {"teacher": teacher}})
    with pytest.raises(UserError, match="which reads 2 past frames, and its pupil sees 1"):
        study(tmp_path, training={"tmanet": {"teacher": "tdnet"}, "tdnet": {"network": {"window": 3}}})


def test_a_training_asks_for_as_many_gpus_as_share_its_batches(tmp_path):
    made = study(tmp_path, training={"tmanet": {"processes": 4}, "tdnet": {"device": "cpu", "processes": 2}}).trainings
    assert (made.device("tmanet"), made.gpus("tmanet")) == ("auto", 4)
    assert (made.device("tdnet"), made.gpus("tdnet")) == ("cpu", 0)
    assert "device" not in json.loads(made.housekeeping("tdnet")) | json.loads(made.settings("tdnet", RUN))
    assert study(tmp_path).evaluation_device == "auto"


def test_tdnet_is_scored_at_the_size_it_is_made_for(tmp_path):
    small = {"tmanet": {}, "tdnet": {"network": {"size": [128, 256]}}}
    made = study(tmp_path, training=small, evaluation={"mode": "whole"})
    settings = json.loads(made.evaluation_settings("tdnet"))
    assert (settings["mode"], settings["crop"]) == ("resized", [128, 256])
    assert json.loads(made.evaluation_settings("tmanet"))["mode"] == "whole"
    chosen = study(tmp_path, training=small, evaluation={"tdnet": {"crop": [96, 192]}})
    assert json.loads(chosen.evaluation_settings("tdnet"))["crop"] == [96, 192]


def test_housekeeping_is_no_setting_that_results_depend_on(tmp_path):
    plain = study(tmp_path)
    other = study(tmp_path, training={"tmanet": {"checkpoint_every": 7, "workers": 0, "cache_mb": 1}})
    assert plain.trainings.settings("tmanet", RUN) == other.trainings.settings("tmanet", RUN)
    assert plain.trainings.housekeeping("tmanet") != other.trainings.housekeeping("tmanet")


def test_an_experiment_that_takes_every_clip_alike_is_run_in_one_draw(tmp_path):
    ids = ["n1", "p2", "all-b11", "coarse-50", "coarse-100", "coarse-100-refined"]
    many = study(tmp_path, experiments=ids, draws=[0, 1, 2], seeds=[4, 5])
    draws = {id_: {run.split("/")[2].split("-")[0] for run in many.runs if run.split("/")[1] == id_} for id_ in ids}
    assert {id_: len(found) for id_, found in draws.items()} == {
        "n1": 1, "p2": 3, "all-b11": 1, "coarse-50": 3, "coarse-100": 1, "coarse-100-refined": 1,
    }  # fmt: skip
    assert len(many.runs) == (1 + 3 + 1 + 3 + 1 + 1) * 2


def test_a_missing_dataset_is_named_unless_it_is_generated(tmp_path):
    nowhere = {"dataset": {"name": "d", "root": str(tmp_path / "nowhere")}}
    with pytest.raises(UserError, match=r"nowhere does not exist: correct dataset\.root"):
        study(tmp_path, **nowhere)
    assert study(tmp_path, **nowhere, toycity={}).scan() == "absent"


def test_settings_are_one_block_a_stage(tmp_path):
    plain = study(tmp_path, experiments=["n1", "b3"])
    faster = study(tmp_path, experiments=["n1", "b3"], training={"tmanet": {"lr": 1}})
    assert plain.trainings.settings("tmanet", RUN) != faster.trainings.settings("tmanet", RUN)
    assert plain.plan_settings() == faster.plan_settings()
    assert plain.manifest_settings("propagated") == faster.manifest_settings("propagated")
    more = study(tmp_path, experiments=["n1", "b3", "coarse-50-refined"])
    assert plain.manifest_settings("propagated") == more.manifest_settings("propagated")


def test_what_is_measured_before_the_plan_is_what_experiments_choose_by(tmp_path):
    assert study(tmp_path, experiments=["n1", "b3", "b3-uniform"]).selections == []
    assert study(tmp_path, experiments=["b3-diversity", "b3-flow", "p2-flow"]).selections == ["flow", "diversity"]


def test_a_price_is_a_setting_of_manifests_that_count_hours_alone(tmp_path):
    settings = {
        id_: json.loads(study(tmp_path, experiments=[id_]).manifest_settings("annotated"))
        for id_ in ("coarse-50", "coarse-50-hours")
    }
    assert "minutes" not in settings["coarse-50"]
    assert settings["coarse-50-hours"]["minutes"] == {"coarse": 7, "fine": 90}


def test_experiments_name_methods_of_refinement_beside_the_configs(tmp_path):
    made = study(tmp_path, experiments=["coarse-50-refined", "coarse-50-automask", "coarse-75-automask"])
    assert made.labelled["refined"] == made.refined_by == ["grabcut", "automask"]
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text("x: {coarse_percent: 50, labels: refined, refinement: magic}")
    config = {"dataset": {"name": "d", "root": str(tmp_path)}, "training": {"tmanet": {}}, "experiments": ["x"]}
    validate(config, SCHEMA)
    with pytest.raises(UserError, match="refinement method 'magic' is unknown"):
        Study(config, catalogue)


def test_parsing_imports_nothing_heavy():
    code = (
        "import sys, fewframes.experiments.study, fewframes.core.stages;"
        "print({'torch', 'cv2', 'pandas', 'h5py', 'matplotlib', 'PIL'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def with_sam2(tmp_path, experiments=("p2",), **settings):
    propagation = {"method": "sam2", "sam2": settings}
    return study(tmp_path, propagation=propagation, experiments=list(experiments), results=str(tmp_path / "../r"))


def test_published_weights_are_fetched_and_a_file_of_ones_own_is_waited_for(tmp_path):
    named = with_sam2(tmp_path, weights="sam2.1_hiera_tiny")
    named.check_weights()
    assert named.methods.waits_for("propagation", "sam2") == [f"{named.folder}/weights/sam2.1_hiera_tiny.fetched"]
    own = tmp_path / "own.pt"
    own.touch()
    local = with_sam2(tmp_path, weights=str(own), config="small")
    local.check_weights()
    assert local.methods.waits_for("propagation", "sam2") == [str(own)]
    assert local.methods.waits_for("propagation", "flow") == [] and not local.methods.needs_weights(
        "propagation", "flow"
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("nowhere/own.pt", "The weights nowhere/own.pt do not exist: correct propagation.sam2.weights"),
        ("sam_vit_b", "weights of segment-anything, not of sam2"),
        ("random", "propagation.sam2.weights is random, and such labels mean nothing"),
    ],
)
def test_weights_that_cannot_serve_are_named_before_any_work(tmp_path, weights, message):
    with pytest.raises(UserError, match=message):
        with_sam2(tmp_path, weights=weights, config="small").check_weights()
    # They harm nobody where nothing is propagated.
    with_sam2(tmp_path, ["n1"], weights=weights, config="small").check_weights()


def test_how_sam2_runs_is_no_setting_of_its_labels(tmp_path):
    plain, other = with_sam2(tmp_path), with_sam2(tmp_path, max_batch=3, device="cpu")
    assert plain.methods.settings("propagation", "sam2") == other.methods.settings("propagation", "sam2")
    run = json.loads(other.methods.housekeeping("propagation", "sam2"))
    assert run == {"device": "cpu", "max_batch": 3, "weights_folder": "weights"}
    assert json.loads(other.methods.housekeeping("propagation", "flow")) == {}


def test_a_configuration_of_ones_own_is_waited_for_too(tmp_path):
    own = tmp_path / "own.yaml"
    chosen = {"allow_random_weights": True, "propagation": {"method": "sam2"}, "experiments": ["p2"]}
    chosen["propagation"]["sam2"] = {"weights": "random", "config": str(own)}
    with pytest.raises(UserError, match=r"own\.yaml does not exist: correct propagation\.sam2\.config"):
        study(tmp_path, **chosen, results=str(tmp_path / "../r")).check_weights()
    own.touch()
    there = study(tmp_path, **chosen, results=str(tmp_path / "../r"))
    there.check_weights()
    assert there.methods.waits_for("propagation", "sam2") == [str(own)]
    chosen["propagation"]["sam2"] = {"weights": "random"}
    with pytest.raises(UserError, match="Random weights have no configuration of their own"):
        study(tmp_path, **chosen, results=str(tmp_path / "../r")).check_weights()


def test_fetched_weights_that_are_gone_are_named(tmp_path):
    named = with_sam2(tmp_path, weights="sam2.1_hiera_tiny")
    fetched = Path(named.methods.waits_for("propagation", "sam2")[0])
    fetched.parent.mkdir(parents=True)
    fetched.touch()
    with pytest.raises(UserError, match=r"sam2\.1_hiera_tiny\.pt were fetched and are gone: run `fewframes fetch"):
        named.check_weights()


def test_a_gpu_is_asked_for_where_a_network_may_use_one(tmp_path):
    methods = with_sam2(tmp_path).methods
    assert methods.needs_gpu("propagation", "sam2") and not methods.needs_gpu("propagation", "flow")
    assert not with_sam2(tmp_path, device="cpu").methods.needs_gpu("propagation", "sam2")


def test_figures_of_labels_say_which_mean_nothing(tmp_path):
    block = {"method": "sam2", "sam2": {"weights": "random", "config": "small"}}
    settings = {"propagation": block, "experiments": ["p2"], "results": str(tmp_path / "../r"), "note": "Toy."}
    note = json.loads(study(tmp_path, **settings).label_settings())["note"]
    assert note == "sam2: labels made with random weights, which mean nothing. Toy."
    assert json.loads(study(tmp_path, **settings | {"experiments": ["n1"]}).label_settings())["note"] == "Toy."


def test_where_no_draw_decides_there_may_be_seeds_instead(tmp_path):
    several = {"experiments": ["n1", "b3", "b3-filled-1"], "draws": [0, 1, 2], "seeds": [4]}
    plain, own = study(tmp_path, **several), study(tmp_path, **several, undrawn_seeds=[4, 5, 6])
    assert [run for run in plain.runs if "/n1/" in run] == ["tmanet/n1/draw0-seed4"]
    assert [run for run in own.runs if "/n1/" in run] == [f"tmanet/n1/draw0-seed{seed}" for seed in (4, 5, 6)]
    assert [run for run in own.runs if "/n1/" not in run] == [run for run in plain.runs if "/n1/" not in run]
    assert own.rounds.run("b3-filled-1", 2) == "tmanet/b3/draw2-seed4"
    assert json.loads(plain.table_settings())["own_seeds"] == {}
    assert json.loads(own.table_settings())["own_seeds"] == {"n1": [4, 5, 6]}
