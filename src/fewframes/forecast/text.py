"""The forecast as text: jobs, GPU-hours, disk, and a timeline for each number of GPUs."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from fewframes.core.errors import UserError
from fewframes.doctor.case import Case
from fewframes.doctor.disk import examine_disk, frame_pixels
from fewframes.doctor.report import plural
from fewframes.doctor.weights import examine_weights
from fewframes.experiments.methods import STAGES
from fewframes.forecast.dataset import Assumed, case_of
from fewframes.forecast.jobs import jobs_of
from fewframes.forecast.measured import Asked
from fewframes.forecast.paces import TIMED, Pace, paces, reference
from fewframes.forecast.schedule import Job, Span, critical_path, length, schedule
from fewframes.forecast.slurm import PROFILE, read_limits

_WIDTH = 100
_BAR = 50
"""Columns of a timeline."""


@dataclass(frozen=True)
class Costs:
    """Jobs with the seconds that each takes at the low and the high end, by its name."""

    jobs: Sequence[Job]
    low: Mapping[str, float]
    high: Mapping[str, float]
    paces: Mapping[str, Pace]

    @property
    def submitted(self) -> list[Job]:
        """The jobs that a cluster is asked to run."""
        return [job for job in self.jobs if job.submitted]

    def hours(self, jobs: Sequence[Job], per_gpu: bool = True) -> tuple[float, float]:
        """Hours of GPUs, or of jobs, that some of the jobs take, from low to high."""
        held = [job.gpus if per_gpu else 1 for job in jobs]
        low, high = (
            sum(of[job.name] * n for job, n in zip(jobs, held, strict=True)) / 3600 for of in (self.low, self.high)
        )
        return low, high


def costs_of(case: Case, results: Sequence[Path]) -> Costs:
    """What the case's jobs take, by the times found in `results` and else by the reference."""
    jobs = jobs_of(case)
    known = paces([job.pace for job in jobs if job.submitted], _asked(case, jobs), results)
    ends = []
    for end in ("low", "high"):
        start = {pace: 0.0 if known[pace].whole else getattr(reference()["start"], end) for pace in known}
        ends.append(
            {j.name: start[j.pace] + j.units * getattr(known[j.pace], end) if j.submitted else 0.0 for j in jobs}
        )
    return Costs(jobs, ends[0], ends[1], known)


def _asked(case: Case, jobs: Sequence[Job]) -> Asked:
    """What the case asks of the jobs whose times may have been measured."""
    study = case.study
    labelling = {
        f"{rule} {method}": json.loads(study.methods.settings(block, method))
        for kind, (rule, block) in STAGES.items()
        for method in study.labelled[kind]
    }
    # Where a processor will do, what one took counts.
    on_gpu = set() if case.config["allow_cpu"] else {job.pace for job in jobs if job.gpus}
    return Asked(case.config["training"], labelling, on_gpu, Path(study.folder), frame_pixels(case))


def forecast(
    config: Path,
    repository: Path,
    assumed: Assumed | None = None,
    results: Sequence[Path] = (),
    gpus: Sequence[int] = (1, 4, 16),
    places: int = 16,
) -> str:
    """Say what the study of a config will take, as text for a terminal of 100 columns.

    `repository` is the folder with the workflow's `workflow/`; `assumed` stands for a dataset that is not there;
    `results` are the datasets' folders of results whose times are used, the study's own among them. `places` jobs on
    processors run at once. Raises `UserError` for what the workflow would refuse.
    """
    case, where = case_of(config, repository, assumed)
    own = Path(case.study.folder)
    results = [*results, *([own] if (own / "benchmarks").is_dir() and own not in results else [])]
    costs = costs_of(case, results)
    if not costs.submitted:
        raise UserError(f"{config} asks for nothing that takes time: name experiments, or methods to measure.")
    of_splits = Counter(clip.split for clip in case.clips)
    counts = ", ".join(f"{n:,} {split}" for split, n in of_splits.items())
    lines = [
        *_wrapped(f"fewframes plan: {config}"),
        *_wrapped(f"{case.study.dataset}, {where}; annotated frames: {counts}"),
        "",
    ]
    lines += [*_steps(costs), "", *_submissions(costs, repository), ""]
    lines += ["Disk", *(f"  {fact}" for fact in _disk(case)), ""]
    for count in gpus:
        lines += [*_timeline(costs, count, places), ""]
    least = [critical_path(costs.jobs, seconds) / 3600 for seconds in (costs.low, costs.high)]
    lines += [f"On any number of GPUs: at least {_time(least[0])} to {_time(least[1])}", ""]
    return "\n".join([*lines, *_sources(costs, places)])


def _steps(costs: Costs) -> list[str]:
    rows = []
    total = [0.0, 0.0]
    for step in dict.fromkeys((job.rule, job.pace) for job in costs.submitted):
        jobs = [job for job in costs.submitted if (job.rule, job.pace) == step]
        pace, gpu = costs.paces[step[1]], costs.hours(jobs)
        each = [hours / len(jobs) for hours in costs.hours(jobs, per_gpu=False)]
        total = [a + b for a, b in zip(total, gpu, strict=True)]
        work = sum(job.units for job in jobs)
        units = f"{_pixels_told(work)} of crops" if "pixel" in pace.unit else plural(round(work), pace.unit)
        name = step[1] if step[1].startswith(step[0]) else f"{step[0]} ({step[1]})" if step[1] != step[0] else step[0]
        hours = _range(*gpu) if jobs[0].gpus else ""
        rows.append([name, len(jobs), units, f"{_time(each[0])} to {_time(each[1])}", hours, pace.kind])
    rows.append(["all", len(costs.submitted), "", "", _range(total[0], total[1]), ""])
    header = ["step", "jobs", "work", "a job takes", "GPU-hours", "pace"]
    return tabulate(rows, header, tablefmt="simple", colalign=("left", "right", *["right"] * 3, "left")).splitlines()


def _submissions(costs: Costs, repository: Path) -> list[str]:
    """Jobs that Slurm is asked for, with the further tries of those that its limit stops."""
    limits = read_limits(repository)
    tries = [limits.submissions(costs.submitted, seconds) for seconds in (costs.low, costs.high)]
    told = f"{tries[0]:,}" if tries[0] == tries[1] else f"{tries[0]:,} to {tries[1]:,}"
    stopped = {
        job.rule: limits.minutes(job.rule, 1)
        for job in costs.submitted
        if limits.tries(job.rule, costs.high[job.name]) > 1
    }
    steps = ", ".join(f"{rule} after {minutes:,.0f}" for rule, minutes in stopped.items())
    again = f", a job that is stopped ({steps} minutes at the first try) going on in another" if steps else ""
    return _wrapped(
        f"Slurm: {told} submissions with {PROFILE.as_posix()}{again}; tables, figures and the like run beside "
        "Snakemake itself."
    )


def _disk(case: Case) -> list[str]:
    _, sizes = examine_weights(case)
    group = examine_disk(case, sizes)
    return [*group.facts, group.summary]


def _timeline(costs: Costs, gpus: int, places: int) -> list[str]:
    """When each step runs: the bars at the high end, the whole at both."""
    low, high = (schedule(costs.jobs, seconds, gpus, places) for seconds in (costs.low, costs.high))
    whole = max(length(high), 1.0)
    lines = [f"{gpus} GPU{'s' if gpus > 1 else ''}: {_time(length(low) / 3600)} to {_time(whole / 3600)}"]
    steps = {(job.rule, job.pace) for job in costs.submitted if job.rule in TIMED and job.units}
    for step in sorted(steps, key=lambda step: _span(costs, step, high).start):
        span = _span(costs, step, high)
        first = round(_BAR * span.start / whole)
        last = max(round(_BAR * span.end / whole), first + 1)
        bar = (" " * first + "█" * (last - first)).ljust(_BAR)
        name = step[1] if step[0] in step[1] else f"{step[0]}"
        lines.append(f"  {name:<26} {bar} {_time(span.start / 3600)} to {_time(span.end / 3600)}")
    return lines


def _span(costs: Costs, step: tuple[str, str], spans: Mapping[str, Span]) -> Span:
    of_step = [spans[job.name] for job in costs.jobs if (job.rule, job.pace) == step]
    return Span(min(span.start for span in of_step), max(span.end for span in of_step))


def _sources(costs: Costs, places: int) -> list[str]:
    lines = ["Where the paces are from"]
    for step, pace in costs.paces.items():
        text = f"{_figure(pace.low)} to {_figure(pace.high)} s per {pace.unit}, {pace.kind}: {pace.source}"
        lines += _wrapped(text, f"  {step}: ")
    start = reference()["start"]
    text = f"{start.low:g} to {start.high:g} s, {start.kind}: {start.source}"
    lines += _wrapped(text, "  start, where it is not in the pace: ")
    assumed = sum(1 for pace in costs.paces.values() if pace.kind == "assumed")
    lines += [
        "",
        *_wrapped(
            f"{assumed} of {len(costs.paces)} paces are assumed: nobody has measured them, and they may be out by more "
            f"than their span. Run a few jobs of {', '.join(TIMED[:-1])} and {TIMED[-1]} and plan again: a run's own "
            "times then count (--measured names other folders). The timeline has all GPUs to itself, "
            f"{places} jobs on processors at once, no queue, no failure, and counts nothing that is done already as "
            "done."
        ),
    ]
    return lines


def _pixels_told(megapixels: float) -> str:
    for unit, size in (("Mpx", 1), ("Gpx", 1e3)):
        if megapixels < 1000 * size:
            return f"{megapixels / size:,.1f} {unit}"
    return f"{megapixels / 1e6:,.1f} Tpx"


def _range(low: float, high: float) -> str:
    return f"{_figure(low)} to {_figure(high)}"


def _figure(value: float) -> str:
    """Two figures are as many as a forecast has."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"


def _time(hours: float) -> str:
    """`40 s`, `12 min`, `3.4 h`, `5.1 days`."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _wrapped(text: str, head: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=head, subsequent_indent="    " if head else "")
