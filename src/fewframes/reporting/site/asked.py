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
from fewframes.reporting.site.neutral import neutral
from fewframes.reporting.statistics import Grid

Facts = Sequence[tuple[str, str]]
"""Terms, and what is said of each."""


def asked(
    config: Mapping[str, Any], results: Path, grid: Grid, catalogue: Mapping[str, Experiment], classes: ClassTable
) -> Facts:
    """The study in terms and sentences; `config` is the validated one, in whose place a part of it will do."""
    dataset, quality = config.get("dataset", {}), config.get("quality", {})
    facts = [("Data", _data(dataset, results, classes))]
    minutes = ", ".join(f"{minutes:g} minutes ({kind})" for kind, minutes in classes.minutes.items())
    if minutes:
        facts.append(("Price of a key frame", minutes))
    labels = [f"propagated by {config['propagation']['method']}"] if "propagation" in config else []
    labels += [f"refined by {config['refinement']['method']}"] if "refinement" in config else []
    facts.append(("Labels to train on", _and(labels)))
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
    facts += [(f"Network {name}", _network(config.get("training", {}).get(name, {}))) for name in grid.networks]
    evaluation = config.get("evaluation", {})
    if evaluation:
        facts.append(("Scored on", f"the finely annotated frames of {evaluation['split']}, mode {evaluation['mode']}"))
    return facts


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


def _network(block: Mapping[str, Any]) -> str:
    structure = block.get("network", {})
    told = {"backbone": structure.get("backbone"), "backbone weights": structure.get("pretrained") or "random"}
    told |= {"iterations": block.get("iterations"), "batch": block.get("batch_size")}
    told["crop"] = " by ".join(map(str, block.get("crop") or ())) or None
    told |= {key: block.get(key) for key in ("optimiser", "lr", "loss", "teacher")}
    return neutral(", ".join(f"{key} {neutral(value)}" for key, value in told.items() if value is not None))


def _listed(numbers: Iterable[int]) -> str:
    listed = list(map(str, numbers))
    return f"{len(listed)} ({', '.join(listed)})"


def _and(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words)) or "none"
