"""Scheduling: every job once, after what it waits for, never more at once than there is room."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.core.errors import UserError
from fewframes.forecast.schedule import Job, critical_path, length, schedule

SECONDS = st.integers(1, 1000).map(float)


@st.composite
def studies(draw, most_gpus=1):
    """Jobs in an order that can be run, each waiting for some before it, with their seconds."""
    jobs, seconds = [], {}
    for number in range(draw(st.integers(1, 25))):
        after = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        gpus = draw(st.integers(0, most_gpus))
        name = f"job {number}"
        jobs.append(Job(name, "rule", after=tuple(f"job {n}" for n in sorted(after)), gpus=gpus))
        seconds[name] = draw(SECONDS)
    return jobs, seconds


@given(studies(most_gpus=4), st.integers(4, 6), st.integers(1, 3))
def test_jobs_wait_for_others_and_for_room(study, gpus, places):
    jobs, seconds = study
    spans = schedule(jobs, seconds, gpus, places)
    assert spans.keys() == seconds.keys()
    for job in jobs:
        span = spans[job.name]
        assert span.end - span.start == seconds[job.name]
        assert all(spans[earlier].end <= span.start for earlier in job.after)
    for moment in {span.start for span in spans.values()}:
        at_once = [job for job in jobs if spans[job.name].start <= moment < spans[job.name].end]
        assert sum(job.gpus for job in at_once) <= gpus
        assert sum(not job.gpus for job in at_once) <= places


@given(studies(most_gpus=4), st.integers(4, 16), st.integers(1, 4))
def test_the_whole_is_no_shorter_than_its_work_and_its_longest_chain(study, gpus, places):
    jobs, seconds = study
    whole = length(schedule(jobs, seconds, gpus, places))
    on_gpus = sum(seconds[job.name] * job.gpus for job in jobs)
    elsewhere = sum(seconds[job.name] for job in jobs if not job.gpus)
    assert whole >= max(on_gpus / gpus, elsewhere / places, critical_path(jobs, seconds)) - 1e-6


@given(studies(), st.integers(1, 8))
def test_where_every_job_holds_one_gpu_it_is_within_grahams_bound(study, gpus):
    jobs, seconds = study
    jobs = [Job(job.name, job.rule, after=job.after, gpus=1) for job in jobs]
    whole = length(schedule(jobs, seconds, gpus, 1))
    longest = critical_path(jobs, seconds)
    assert whole <= sum(seconds.values()) / gpus + (1 - 1 / gpus) * longest + 1e-6


@given(st.integers(1, 60), SECONDS, st.integers(1, 20))
def test_more_gpus_never_slow_jobs_that_are_alike(count, each, gpus):
    jobs = [Job(f"job {n}", "train", gpus=1) for n in range(count)]
    seconds = dict.fromkeys((job.name for job in jobs), each)
    fewer, more = (length(schedule(jobs, seconds, n, 1)) for n in (gpus, gpus + 1))
    assert fewer == pytest.approx(math.ceil(count / gpus) * each)
    assert more <= fewer


def test_of_jobs_that_could_start_the_first_does():
    jobs = [Job("long", "train", gpus=1), Job("short", "train", gpus=1), Job("wide", "train", gpus=2)]
    spans = schedule(jobs, {"long": 5.0, "short": 1.0, "wide": 1.0}, 1 + 1, 1)
    assert {name: span.start for name, span in spans.items()} == {"long": 0, "short": 0, "wide": 5}


def test_what_cannot_be_run_is_refused():
    with pytest.raises(UserError, match="asks for 4 GPUs at once and there are 2"):
        schedule([Job("wide", "train", gpus=4)], {"wide": 1.0}, 2, 1)
    ring = [Job("a", "train", after=("b",)), Job("b", "train", after=("a",))]
    with pytest.raises(ValueError, match="wait for one another"):
        schedule(ring, {"a": 1.0, "b": 1.0}, 1, 1)


def test_what_is_not_submitted_holds_nothing():
    jobs = [Job("a", "plan", submitted=False), Job("b", "prepare"), Job("c", "train", after=("a",), gpus=1)]
    spans = schedule(jobs, {"a": 0.0, "b": 3.0, "c": 2.0}, 1, 1)
    assert (spans["c"].start, length(spans)) == (0, 3)
