"""The forecast as text: jobs, GPU-hours, disk, and a timeline for each number of GPUs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from tabulate import tabulate

from fewframes.core.errors import UserError
from fewframes.core.images import image_size
from fewframes.doctor.case import Case
from fewframes.doctor.disk import examine_disk
from fewframes.doctor.report import plural
from fewframes.doctor.weights import examine_weights
from fewframes.forecast.dataset import Assumed, case_of
from fewframes.forecast.jobs import jobs_of
from fewframes.forecast.paces import Pace, paces, reference
from fewframes.forecast.schedule import Job, Span, critical_path, length, schedule

_WIDTH = 100
_BAR = 50
"""Columns of a timeline."""
_UNKNOWN_PIXELS = 2048 * 1024
"""Pixels of a frame where none can be read yet: Cityscapes'."""
_TIMED = ("propagate", "refine", "fill", "train", "evaluate")
"""Rules that a timeline shows; the others run beside them on processors."""


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
    known = paces([job.pace for job in jobs if job.submitted], case.config["training"], _pixels(case), results)
    ends = []
    for end in ("low", "high"):
        start = {pace: 0.0 if known[pace].whole else getattr(reference()["start"], end) for pace in known}
        ends.append(
            {j.name: start[j.pace] + j.units * getattr(known[j.pace], end) if j.submitted else 0.0 for j in jobs}
        )
    return Costs(jobs, ends[0], ends[1], known)


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
    profile = repository / "workflow" / "profiles" / "slurm" / "config.yaml"
    # The values of the site's block are plain; what follows it is text to YTE, and YAML all the same.
    longest = 60 * yaml.safe_load(profile.read_text(encoding="utf-8"))["__variables__"]["longest"]
    tries = [
        sum(max(1, -(-seconds[job.name] // longest)) for job in costs.submitted) for seconds in (costs.low, costs.high)
    ]
    told = f"{tries[0]:,.0f}" if tries[0] == tries[1] else f"{tries[0]:,.0f} to {tries[1]:,.0f}"
    return _wrapped(
        f"Slurm: {told} submissions with workflow/profiles/slurm, a job stopped after {longest // 60:,} minutes going "
        "on in another; tables, figures and the like run beside Snakemake itself."
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
    steps = {(job.rule, job.pace) for job in costs.submitted if job.rule in _TIMED and job.units}
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
            "than their span. Run a few jobs of each step and plan again: a run's own times then count (--measured "
            f"names other folders). The timeline has all GPUs to itself, {places} jobs on processors at once, no "
            "queue, no failure, and counts nothing that is done already as done."
        ),
    ]
    return lines


def _pixels(case: Case) -> int:
    for clip in case.clips[:1]:
        try:
            height, width = image_size(case.source.root / clip.image)
        except UserError:
            break
        return height * width
    return _UNKNOWN_PIXELS


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
