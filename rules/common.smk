"""The config, validated, and the functions that rules ask: everything else is in the package."""

import os
import re
import signal
import sys
from pathlib import Path

from jsonschema import ValidationError
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json
from fewframes.core.shown import one_line
from fewframes.core.signals import pass_on
from fewframes.core.stages import ALLOW_CPU, VERSIONS
from fewframes.core.weights import registry
from fewframes.experiments.study import Study

EXPERIMENTS = Path(workflow.basedir) / "workflow" / "experiments"
CATALOGUE = EXPERIMENTS / "catalogue.yaml"
SCORES = ("confusion.npz", "metrics.csv", "groups.csv", "paths.csv")
CAPTIONS = sorted((Path(workflow.basedir) / "workflow" / "report").glob("*.rst"))

try:
    validate(config, "../workflow/schemas/config.schema.yaml")
    STUDY = Study(config, CATALOGUE)
    STUDY.check_weights()
except UserError as error:
    print(one_line(f"fewframes: {error}"), file=sys.stderr)
    sys.exit(2)
except WorkflowError as error:
    # The schema's own words about the one key, instead of the whole config and schema.
    fault = error.__context__
    if not isinstance(fault, ValidationError):
        raise
    place = ".".join(map(str, fault.absolute_path)) or "top level"
    print(
        one_line(
            f"fewframes: config, {place}: {fault.message}: see workflow/schemas/config.schema.yaml."
        ),
        file=sys.stderr,
    )
    sys.exit(2)

if config["allow_cpu"]:
    # Jobs inherit it, those of a cluster too: each reads the config for itself.
    os.environ[ALLOW_CPU] = "1"


# Slurm announces a job's limit to the job's first process alone where it tracks processes by cgroup: to the Snakemake in
# the job, which would die of it.
if not workflow.is_main_process:
    pass_on(signal.SIGUSR1)


wildcard_constraints:
    method="[a-z0-9_]+",
    shard=r"\d{4}",
    network="[a-z0-9_]+",
    experiment="[a-z0-9-]+",
    draw=r"\d+",
    seed=r"\d+",
    table=r"table\d+",


def dataset_scan(wildcards):
    """What makes the plan due again; jobs on other nodes need not look."""
    return STUDY.scan() if workflow.is_main_process else ""


def prepared_truth_scan(wildcards):
    """What makes the preparation of truth due again; jobs on other nodes need not look."""
    return STUDY.scan_prepared_truth() if workflow.is_main_process else ""


def corrections_scan(wildcards):
    """What tells that a correction came or went; jobs on other nodes need not look."""
    return STUDY.scan_corrections() if workflow.is_main_process else ""


def results_folder(wildcards):
    """The dataset's folder of results."""
    return STUDY.folder


def generated_dataset(wildcards):
    """The generated dataset's last file, where the dataset is generated."""
    return [f"{STUDY.root}/toycity.json"] if STUDY.generated else []


def planned_shard(stage):
    """Through the plan: a stage's shard of clips."""

    def shard(wildcards):
        checkpoints.plan.get()
        return f"{STUDY.folder}/shards/{stage}/{wildcards.shard}.csv"

    return shard


# A checkpoint that is waited for and then found up to date never "finishes", and Snakemake 9.27 starts what waited for it
# on a placeholder. So every checkpoint writes a file that is new each time (`.ran`), and the checkpoints below read it: when
# one runs, all below it run (they are cheap), and whatever waits is looked at again with its true inputs.


def planned_run(wildcards):
    """Through the plan: that it ran."""
    checkpoints.plan.get()
    return f"{STUDY.folder}/plan.ran"


def planned_states(wildcards):
    """Through the plan: what tells that a clip may have changed."""
    checkpoints.plan.get()
    return f"{STUDY.folder}/states.csv"


def planned_clips(wildcards):
    """Through the plan: the index alone."""
    checkpoints.plan.get()
    return f"{STUDY.folder}/index.csv"


def planned_index(wildcards):
    """Through the plan: the index, who is eligible, what tells that a clip may have changed, and that it ran."""
    checkpoints.plan.get()
    return [
        f"{STUDY.folder}/{name}"
        for name in (
            "index.csv",
            "eligible.csv",
            "states.csv",
            "corrected.csv",
            "plan.ran",
        )
    ]


def selection_files():
    """What the plan reads to choose clips by, where an experiment asks for more than chance."""
    return [f"{STUDY.folder}/selection/{name}.csv" for name in STUDY.selections]


def planned_selections(wildcards):
    """Through the plan: what clips were chosen by."""
    checkpoints.plan.get()
    return selection_files()


def shard_labels(stage, method):
    """The CSVs of labels that a stage's shards declare."""
    return [f"{STUDY.folder}/{stage}/{method}/{shard}.csv" for shard in STUDY.shards]


def shards_of_method(stage):
    """The CSVs of labels of a method's shards."""
    return lambda wildcards: shard_labels(stage, wildcards.method)


def pseudo_labels(method):
    """Through its checkpoint: the collected pseudo-labels of a method."""
    checkpoints.collect_pseudo.get(method=method)
    return f"{STUDY.folder}/pseudo/{method}/labels.csv"


def refined_labels(method):
    """Through its checkpoint: the collected refined labels of a method."""
    checkpoints.collect_refined.get(method=method)
    return f"{STUDY.folder}/refined/{method}/labels.csv"


def weights_of_method(stage):
    """What tells that the weights are there which a method of the stage needs, where it needs any."""
    return lambda wildcards: STUDY.methods.waits_for(stage, wildcards.method)


def threads_of_method(stage):
    """Threads of a method: what runs a network decodes images beside it, the others are single."""
    return lambda wildcards: (
        4 if STUDY.methods.needs_weights(stage, wildcards.method) else 1
    )


def gpu_of_method(stage):
    """GPUs of a method."""
    return lambda wildcards: int(STUDY.methods.needs_gpu(stage, wildcards.method))


def labels_of_method(wildcards):
    """The pseudo-labels of a method."""
    return pseudo_labels(wildcards.method)


def refined_labels_of_method(wildcards):
    """The refined labels of a method."""
    return refined_labels(wildcards.method)


def every_measured_labels(wildcards):
    """The pseudo-labels of every method to measure."""
    return [pseudo_labels(method) for method in STUDY.measured]


def every_signalled_labels(wildcards):
    """The pseudo-labels of every method whose signals are measured."""
    return [pseudo_labels(method) for method in STUDY.signalled]


def every_labels(wildcards):
    """Through their checkpoints: the labels of every method."""
    return [
        *map(pseudo_labels, STUDY.labelled["pseudo"]),
        *map(refined_labels, STUDY.labelled["refined"]),
    ]


def trained_pseudo_labels(wildcards):
    """The pseudo-labels that are trained on, and that they were collected."""
    labels = pseudo_labels(STUDY.propagation)
    return [labels, str(Path(labels).with_suffix(".ran"))]


def all_refined_labels(wildcards):
    """The refined labels that are trained on, of every method, and that they were collected."""
    labels = [refined_labels(method) for method in STUDY.refined_by]
    return [*labels, *(str(Path(path).with_suffix(".ran")) for path in labels)]


def refined_by():
    """What says to a command which labels each method refined."""
    return [
        part
        for method in STUDY.refined_by
        for part in ("--refined", method, f"{STUDY.folder}/refined/{method}/labels.csv")
    ]


def family_manifests(family):
    """All manifests of a family of experiments."""
    return [f"{STUDY.folder}/manifests/{name}.csv" for name in STUDY.manifests(family)]


def planned_manifests(family):
    """Through the family's checkpoint, or those of a filled family: all its manifests."""
    if family == "filled":
        for experiment in STUDY.families[family]:
            for draw in experiment.draws_of(STUDY.draws):
                checkpoints.manifest_filled.get(experiment=experiment.id, draw=draw)
    elif STUDY.families[family]:
        getattr(checkpoints, f"manifests_{family}").get()
    return family_manifests(family)


def manifest_of_run(wildcards):
    """The manifest to train on."""
    return f"{STUDY.folder}/manifests/{wildcards.experiment}/draw{wildcards.draw}.csv"


def training_manifest(wildcards):
    """Through its family's checkpoint, or its own: the manifest to train on."""
    return planned_manifest(wildcards.experiment, wildcards.draw)


def planned_manifest(experiment, draw):
    """Through its family's checkpoint, or its own: an experiment's manifest."""
    family = STUDY.family(experiment)
    if family == "filled":
        checkpoints.manifest_filled.get(experiment=experiment, draw=draw)
    else:
        planned_manifests(family)
    return f"{STUDY.folder}/manifests/{experiment}/draw{draw}.csv"


def unfilled_manifest(wildcards):
    """The manifest of the labels to fill, as they were propagated."""
    experiment = STUDY.rounds.unfilled(wildcards.experiment)
    return f"{STUDY.folder}/manifests/{experiment}/draw{wildcards.draw}.csv"


def filling_model(wildcards):
    """The model that fills."""
    run = STUDY.rounds.run(wildcards.experiment, wildcards.draw)
    return f"{STUDY.folder}/runs/{run}/model.safetensors"


def filling_inputs(wildcards):
    """Through their checkpoints: the labels to fill and what the model that fills them was trained on; that model."""
    experiments = (
        STUDY.rounds.unfilled(wildcards.experiment),
        STUDY.rounds.teacher(wildcards.experiment),
    )
    manifests = [planned_manifest(each, wildcards.draw) for each in experiments]
    return [filling_model(wildcards), *dict.fromkeys(manifests)]


def planned_before_filling(wildcards):
    """Through the checkpoint above that of a filled manifest: the manifest of the labels to fill; and that it ran."""
    teacher = STUDY.rounds.teacher(wildcards.experiment)
    planned_manifest(teacher, wildcards.draw)
    if STUDY.family(teacher) == "filled":
        ran = f"{STUDY.folder}/filled/{teacher}/draw{wildcards.draw}.ran"
    else:
        ran = f"{STUDY.folder}/manifests/propagated.ran"
    return [unfilled_manifest(wildcards), ran]


def training_inputs(wildcards):
    """The manifest, and what else a training waits for."""
    others = STUDY.trainings.waits_for(wildcards.network, run_of(wildcards))
    return [training_manifest(wildcards), *others]


def run_of(wildcards):
    """What a run is called below its network's folder."""
    return f"{wildcards.experiment}/draw{wildcards.draw}-seed{wildcards.seed}"


def trained_manifests(draws):
    """Through their checkpoints: the manifests that an experiment's runs in these draws were trained on."""
    return lambda wildcards: [
        planned_manifest(wildcards.experiment, draw) for draw in draws
    ]


def models_and_scores(wildcards):
    """What says to a command where each model of an experiment lies, and where its scores go."""
    experiment = f"{wildcards.network}/{wildcards.experiment}/"
    folders = [
        f"{STUDY.folder}/runs/{run}" for run in STUDY.runs if run.startswith(experiment)
    ]
    return [
        word
        for folder in folders
        for word in ("--model", f"{folder}/model.safetensors", "--out", folder)
    ]


# Draws and seeds of most experiments, and of those that leave nothing to the draw.
ALL_RUNS = (STUDY.draws, STUDY.seeds)
UNDRAWN_RUNS = (STUDY.draws[:1], STUDY.undrawn_seeds)


def experiments_of(runs):
    """The ids of the experiments that have these draws and seeds, as a pattern that may match none."""
    return "|".join(e.id for e in STUDY.experiments if STUDY.runs_of(e) == runs) or "-"


def evaluation_manifest(wildcards):
    """Through its checkpoint: the frames to score on."""
    checkpoints.manifests_annotated.get()
    return f"{STUDY.folder}/manifests/evaluation.csv"


def every_manifest(wildcards):
    """Through their checkpoints: all manifests, and what the corrected labels among their samples cost."""
    checkpoints.plan.get()
    manifests = [
        path for family in STUDY.families for path in planned_manifests(family)
    ]
    return [*manifests, f"{STUDY.folder}/corrected.csv"]


def evaluated_runs(file):
    """One file of every run."""
    return [f"{STUDY.folder}/runs/{run}/{file}" for run in STUDY.runs]


def truth_scan(wildcards):
    """What makes quality due again; jobs on other nodes need not look."""
    return STUDY.scan_truth() if workflow.is_main_process else ""


def stage_settings(stage):
    """The settings of the method in the wildcards, as canonical JSON."""
    return lambda wildcards: STUDY.methods.settings(stage, wildcards.method)
