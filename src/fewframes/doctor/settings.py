"""The config: read as the workflow reads it, but going on past what is wrong as far as that makes sense."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from fewframes.core.clips import PREPARED_FOLDER
from fewframes.core.errors import UserError
from fewframes.core.files import read_yaml
from fewframes.core.labels import load_class_table
from fewframes.datasets import reader_module
from fewframes.datasets.source import Source
from fewframes.doctor.case import Case
from fewframes.doctor.report import FAULT, WARNING, Group, plural
from fewframes.experiments.schemes import load_catalogue
from fewframes.experiments.study import Study
from fewframes.labelling import propagation, refinement

_CHOOSE_METHOD = "Choose among them: docs/reference/methods.md."


def read_config(path: Path) -> dict[str, Any]:
    """The config as it stands; raises `UserError` where it cannot be read."""
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise UserError(
            f"The config {path} holds no keys: compare it with the config.yaml that came with the workflow."
        )
    return config


def examine_config(config: dict[str, Any], repository: Path, workers: int, deep: bool) -> tuple[Group, Case | None]:
    """Check the config (its defaults are filled in); returns also the case, where one can be made."""
    group = Group("Config")
    named_split = "split" in (config.get("evaluation") or {})
    if not _valid(group, config, repository):
        return group, None
    _check_experiments(group, config, repository / "workflow" / "experiments" / "catalogue.yaml")
    _check_methods(group, config)
    _check_folders(group, config)
    try:
        study = Study(config, repository / "workflow" / "experiments" / "catalogue.yaml")
    except UserError as error:
        group.refused("what the workflow would refuse", "config", error)
        return group, None
    runs, measured = plural(len(study.runs), "training"), plural(len(study.measured), "method")
    group.summary = f"{plural(len(study.experiments), 'experiment')}, {runs}, {measured} to measure"
    settings = study.dataset_settings()
    try:
        classes = load_class_table(settings["classes"])
    except UserError as error:
        mend = "Correct the class table, or name another (dataset.classes)."
        group.add(FAULT, "class table that cannot be read", "dataset.classes", mend, str(error))
        return group, None
    truth = Path(settings["truth"]) if settings["truth"] else None
    prepared = Path(study.folder) / PREPARED_FOLDER
    source = Source(Path(settings["root"]), prepared, classes, settings["options"], truth)
    if not study.root.is_dir():
        return group, None  # toy city, not generated yet: the study has said so of any other
    try:
        reader_module(settings["reader"], source)
    except UserError as error:
        group.refused("what the reader would refuse", "dataset.options", error)
        return group, None
    return group, Case(study, config, source, workers, deep, named_split)


def _valid(group: Group, config: dict[str, Any], repository: Path) -> bool:
    """Whether the config fits the schema, whose defaults are filled in."""
    # Snakemake takes a moment to import, and nothing else here needs it.
    from jsonschema import ValidationError  # type: ignore[import-untyped]
    from snakemake.exceptions import WorkflowError  # type: ignore[import-untyped]
    from snakemake.utils import validate  # type: ignore[import-untyped]

    schema = repository / "workflow" / "schemas" / "config.schema.yaml"
    if not schema.is_file():
        raise UserError(f"There is no {schema}: run the doctor in the repository's folder, or name it (--repository).")
    try:
        validate(config, str(schema.absolute()))
    except WorkflowError as error:
        fault = error.__context__
        if not isinstance(fault, ValidationError):
            raise
        key = ".".join(map(str, fault.absolute_path)) or "top level"
        mend = "Every key and its values: workflow/schemas/config.schema.yaml."
        group.add(FAULT, "not as the schema has it", key, mend, fault.message)
        return False
    return True


def _check_experiments(group: Group, config: dict[str, Any], catalogue: Path) -> None:
    known = load_catalogue(catalogue)
    for id_ in config["experiments"]:
        if id_ not in known:
            close = difflib.get_close_matches(id_, known, 1)
            mend = "Choose ids of workflow/experiments/catalogue.yaml, or add a line there."
            group.add(FAULT, "unknown experiments", id_, mend, f"did you mean {close[0]}?" if close else "")
    config["experiments"] = [id_ for id_ in config["experiments"] if id_ in known]


def _check_methods(group: Group, config: dict[str, Any]) -> None:
    """Note unknown methods, and set known ones in their place."""
    for stage, methods in (("propagation", propagation.METHODS), ("refinement", refinement.METHODS)):
        method = config[stage]["method"]
        if method not in methods:
            detail = f"'{method}' is none of {', '.join(methods)}"
            group.add(FAULT, "unknown methods", f"{stage}.method", _CHOOSE_METHOD, detail)
            config[stage]["method"] = methods[0]
    for key, methods in (("methods", propagation.METHODS), ("refinements", refinement.METHODS)):
        for method in config["quality"][key]:
            if method not in methods:
                detail = f"'{method}' is none of {', '.join(methods)}"
                group.add(FAULT, "unknown methods", f"quality.{key}", _CHOOSE_METHOD, detail)
        config["quality"][key] = [method for method in config["quality"][key] if method in methods]


def _check_folders(group: Group, config: dict[str, Any]) -> None:
    dataset = config["dataset"]
    for key in ("truth", "corrections"):
        if dataset[key] and not Path(dataset[key]).is_dir() and "toycity" not in config:
            mend = "Correct the folder, or set the key to null."
            group.add(FAULT, "folders that do not exist", f"dataset.{key}", mend, dataset[key])
    if config["quality"]["methods"] and not dataset["truth"]:
        mend = "Set dataset.truth to a folder of dense labels, or leave quality.methods empty."
        group.add(WARNING, "methods that nothing can be measured with", "quality.methods", mend)
