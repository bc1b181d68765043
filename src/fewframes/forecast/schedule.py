"""List scheduling: when each job would start and end on so many GPUs."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewframes.core.errors import UserError


@dataclass(frozen=True)
class Job:
    """A job of the study. `pace` names what its time goes by, `units` says how much of that it does.

    It waits for the jobs named in `after`, and holds `gpus` GPUs at once, or with none of them one place for work on
    processors where it is `submitted`; what is not runs beside Snakemake, in no time that counts.
    """

    name: str
    rule: str
    pace: str = ""
    units: float = 0
    after: tuple[str, ...] = ()
    gpus: int = 0
    submitted: bool = True


@dataclass(frozen=True)
class Span:
    """When a job runs, in seconds from the start of all."""

    start: float
    end: float


def schedule(jobs: Sequence[Job], seconds: Mapping[str, float], gpus: int, places: int) -> dict[str, Span]:
    """When each job runs, by its name, on so many GPUs and with so many `places` for jobs on processors.

    `seconds` has each job's time by its name. As with Snakemake's greedy scheduler, a job starts as soon as what it
    waits for has ended and there is room; of several that could, the first of `jobs`. Where every job holds one GPU,
    the whole takes less than twice as long as in the best order (Graham, "Bounds on multiprocessing timing anomalies",
    SIAM Journal on Applied Mathematics 17, 1969). Raises `UserError` where a job holds more GPUs than there are, and
    `ValueError` where jobs wait for one another.
    """
    if (most := max((job.gpus for job in jobs), default=0)) > gpus:
        raise UserError(
            f"A job asks for {most} GPUs at once and there are {gpus}: plan with more, or lower `processes`."
        )
    place = {job.name: number for number, job in enumerate(jobs)}
    waits = {job.name: len(set(job.after)) for job in jobs}
    then: dict[str, list[str]] = {job.name: [] for job in jobs}
    for job in jobs:
        for earlier in set(job.after):
            then[earlier].append(job.name)
    free = {"gpu": gpus, "place": places, "": len(jobs)}
    # A queue for each number of GPUs and for processors: within one, who cannot start keeps no other waiting.
    queues: dict[tuple[str, int], list[int]] = {}
    spans: dict[str, Span] = {}
    running: list[tuple[float, int]] = []
    now = 0.0

    def ready(name: str) -> None:
        heapq.heappush(queues.setdefault(_room(jobs[place[name]]), []), place[name])

    for job in jobs:
        if not waits[job.name]:
            ready(job.name)
    while True:
        while fitting := [queue for (kind, asked), queue in queues.items() if queue and asked <= free[kind]]:
            number = heapq.heappop(min(fitting, key=lambda queue: queue[0]))
            job = jobs[number]
            kind, asked = _room(job)
            free[kind] -= asked
            spans[job.name] = Span(now, now + seconds[job.name])
            heapq.heappush(running, (spans[job.name].end, number))
        if not running:
            break
        now, number = heapq.heappop(running)
        kind, asked = _room(jobs[number])
        free[kind] += asked
        for name in then[jobs[number].name]:
            waits[name] -= 1
            if not waits[name]:
                ready(name)
    if len(spans) < len(jobs):
        raise ValueError("jobs wait for one another")
    return spans


def length(spans: Mapping[str, Span]) -> float:
    """Seconds until the last job has ended."""
    return max((span.end for span in spans.values()), default=0.0)


def critical_path(jobs: Sequence[Job], seconds: Mapping[str, float]) -> float:
    """Seconds of the longest chain of jobs, each waiting for the one before: no number of GPUs is faster.

    Every job stands behind those that it waits for.
    """
    ends: dict[str, float] = {}
    for job in jobs:
        ends[job.name] = seconds[job.name] + max((ends[earlier] for earlier in job.after), default=0.0)
    return max(ends.values(), default=0.0)


def _room(job: Job) -> tuple[str, int]:
    """What a job holds while it runs, and how much of it."""
    if job.gpus:
        return "gpu", job.gpus
    return ("place", 1) if job.submitted else ("", 0)
