"""What a study asked for, in a few lines: its data, labels, experiments and networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewframes.core.clips import read_clips
from fewframes.core.files import read_csv
from fewframes.core.labels import ClassTable
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.definitions import experiment_of
from fewframes.reporting.site.neutral import neutral
from fewframes.reporting.statistics import Grid

Facts = Sequence[tuple[str, str]]
"""Terms, and what is said of each."""


def asked(
    config: Mapping[str, Any],
    results: Path,
    grid: Grid,
    catalogue: Mapping[str, Experiment],
    classes: ClassTable,
    labelled: Mapping[str, Sequence[str]],
) -> Facts:
    """The study in terms and sentences; `config` is the validated one, in whose place a part of it will do.

    `labelled` are the methods whose labels are made, by stage (`pseudo`, `refined`).
    """
    dataset, quality = config.get("dataset", {}), config.get("quality", {})
    facts = [("Data", _data(dataset, results, classes))]
    minutes = ", ".join(f"{minutes:g} minutes ({kind})" for kind, minutes in classes.minutes.items())
    if minutes:
        facts.append(("Price of a key frame", minutes))
    facts.append(("Labels made", "; ".join(_labels(config, grid, catalogue, labelled)) or "none"))
    measured = [*quality.get("methods", []), *quality.get("refinements", [])]
    if measured and dataset.get("truth"):
        facts.append(("Measured against dense truth", _and(measured)))
    if not grid.experiments:
        return [*facts, ("Trainings", "none: labels alone were asked for")]
    names = [experiment.name for id_, experiment in catalogue.items() if id_ in grid.experiments]
    facts.append((f"Experiments ({len(names)})", " · ".join(names)))
    draws = sorted({draw for draws in grid.experiments.values() for draw in draws})
    facts.append(("Draws of clips", _listed(draws)))
    facts.append(("Seeds of training", _listed(grid.seeds)))
    if grid.own_seeds:
        facts.append(("Seeds where no draw decides", _listed(next(iter(grid.own_seeds.values())))))
    facts += [(f"Network {name}", _network(name, config.get("training", {}), grid)) for name in grid.networks]
    evaluation = config.get("evaluation", {})
    if evaluation:
        modes = [f"{evaluation.get(name, {}).get('mode', evaluation['mode'])} ({name})" for name in grid.networks]
        facts.append(("Scored on", f"the finely annotated frames of {evaluation['split']}, mode {', '.join(modes)}"))
    return facts


def _labels(
    config: Mapping[str, Any],
    grid: Grid,
    catalogue: Mapping[str, Experiment],
    labelled: Mapping[str, Sequence[str]],
) -> list[str]:
    """By what labels are propagated, refined and filled, as far as they are."""
    done = {"pseudo": "propagated", "refined": "refined"}
    labels = [f"{done[stage]} by {', '.join(methods)}" for stage, methods in labelled.items() if methods]
    filled = [e for id_ in grid.experiments if (e := experiment_of(catalogue, id_)).filled_by]
    if filled:
        network = config.get("filling", {}).get("network") or next(iter(grid.networks), "a network")
        rounds = (f"{catalogue[e.filled_by].name} (for {e.name})" for e in filled)
        labels.append(f"filled by {network} trained on {', '.join(rounds)}")
    return labels


def _data(dataset: Mapping[str, Any], results: Path, classes: ClassTable) -> str:
    clips = read_clips(results / "index.csv")
    splits = Counter(clip.split for clip in clips)
    eligible = sum(not row["reason"] for row in read_csv(results / "eligible.csv", ("clip", "reason")))
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    reader = f"read as {dataset['reader']}, " if "reader" in dataset else ""
    table = neutral(str(dataset.get("classes", classes.name)))
    return (
        f"{results.name}: {reader}{len(classes.names)} classes ({table}); clips: {counts}; {eligible} can serve every "
        "experiment"
    )


def _network(name: str, training: Mapping[str, Any], grid: Grid) -> str:
    block = training.get(name, {})
    structure = block.get("network", {})
    told = {"backbone": structure.get("backbone"), "backbone weights": structure.get("pretrained") or "random"}
    told |= {"iterations": block.get("iterations"), "batch": block.get("batch_size")}
    told["crop"] = " by ".join(map(str, block.get("crop") or ())) or None
    told |= {key: block.get(key) for key in ("optimiser", "lr", "loss", "teacher")}
    only = len(grid.own_experiments.get(name, ()))
    told["trained on"] = f"{only} of the {len(grid.experiments)} experiments" if only else None
    return neutral(", ".join(f"{key} {neutral(value)}" for key, value in told.items() if value is not None))


def _listed(numbers: Iterable[int]) -> str:
    listed = list(map(str, numbers))
    return f"{len(listed)} ({', '.join(listed)})"


def _and(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words)) or "none"
