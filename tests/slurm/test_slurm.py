"""Runs on a Slurm cluster that is broken in every way a cluster breaks: the tables are those of an undisturbed run."""

import os
import signal

import pytest
from cluster import GPUS, wait
from slurmstudy import EXPERIMENTS, go_on, is_signalled

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]


def test_gpu_steps_run_on_gpu_nodes_and_no_more_at_once_than_there_are_gpus(finished, cluster):
    jobs = cluster.jobs(finished.folder)
    steps = ["train", "evaluate"]
    on_gpus = [job for step in steps for job in cluster.jobs(finished.folder, step)]
    assert len(on_gpus) == len(steps) * len(EXPERIMENTS) < len(jobs) <= 10
    for job in jobs:
        places = cluster.gpu_nodes if job in on_gpus else cluster.cpu_nodes
        assert job["NodeList"] in places and job.get("TresPerJob") == ("gres:gpu:1" if job in on_gpus else None), job
    spans = [(job["StartTime"], job["EndTime"]) for job in on_gpus]
    assert max(sum(begin <= start < end for begin, end in spans) for start, _ in spans) == GPUS


def test_the_signal_that_announces_the_limit_reaches_the_training(study, finished, cluster):
    head = study.start("tables")
    pid, job = study.held(head)
    # Slurm looks every 30 s, and announces what would be due before it looks again.
    cluster.run("scontrol", "update", f"jobid={job['JobId']}", "EndTime=now+140")
    wait(lambda: is_signalled(pid, signal.SIGUSR1), "the signal")
    go_on(pid)
    output = study.finish(head)
    assert "stopped by SIGUSR1" in output
    study.assert_gone_on(finished)


def test_a_training_over_its_limit_goes_on_from_its_checkpoint(study, finished, cluster):
    head = study.start("tables")
    _, job = study.held(head)
    cluster.run("scontrol", "update", f"jobid={job['JobId']}", "EndTime=now")
    assert "TIMEOUT" in study.finish(head)
    study.assert_gone_on(finished)


def test_a_cancelled_training_goes_on_from_its_checkpoint(study, finished, cluster):
    study.write_profile(ask_by="gres")
    head = study.start("tables")
    _, job = study.held(head)
    assert job["NodeList"] in cluster.gpu_nodes and job["TresPerNode"] == "gres:gpu:1"
    cluster.run("scancel", job["JobId"])
    assert "CANCELLED" in study.finish(head)
    study.assert_gone_on(finished)


def test_a_training_whose_node_goes_down_goes_on_at_another(study, finished, cluster):
    head = study.start("tables")
    _, job = study.held(head)
    cluster.crash(job["NodeList"])
    try:
        study.finish(head)
    finally:
        cluster.start_node(job["NodeList"])
    (again,) = cluster.jobs(study.folder, "train")
    assert again["JobId"] == job["JobId"] and again["Restarts"] == "1"
    assert again["NodeList"] != job["NodeList"]
    study.assert_gone_on(finished)


def test_a_preempted_training_is_queued_again_and_goes_on(study, finished, cluster):
    head = study.start("tables")
    _, job = study.held(head)
    cluster.run("sbatch", "-p", "urgent", "-w", job["NodeList"], "--gpus=1", "-o", "/dev/null", "--wrap", "sleep 2")
    study.finish(head)
    (again,) = cluster.jobs(study.folder, "train")
    assert again["JobId"] == job["JobId"] and again["Restarts"] == "1"
    study.assert_gone_on(finished)


def test_a_new_head_beside_the_jobs_of_a_killed_one(study, finished, cluster):
    dead = study.start("tables")
    pid, _ = study.held(dead)
    os.killpg(dead.pid, signal.SIGKILL)
    dead.wait()
    study.unlock()
    head = study.start("tables")
    wait(lambda: len(study.trainers()) == 2, "the new head's training")
    go_on(pid)
    study.finish(head)
    assert len(cluster.jobs(study.folder, "train")) > 1
    study.assert_equal_to(finished)
