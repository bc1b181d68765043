"""The how-to on Slurm, followed to the letter on the cluster: its blocks of bash, from the first to the last."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import wait
from slurmstudy import HEAD
from study import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

SECTIONS = (REPOSITORY / "docs/how-to/slurm.md").read_text(encoding="utf-8").split("\n## ")
BLOCKS = {section.split("\n")[0]: re.findall(r"^```bash\n(.*?)^```$", section, re.M | re.S) for section in SECTIONS}


@pytest.fixture
def follow(study):
    """Does what a block says, in a folder that looks like the repository, and gives back what it printed."""
    for name in ("Snakefile", "rules", "workflow", "envs"):
        (study.folder / name).symlink_to(REPOSITORY / name)
    programs = study.folder / "bin"
    programs.mkdir()
    (programs / "snakemake").write_text(f'#!/bin/sh\nexec {sys.executable} {HEAD} "$@"\n')
    (programs / "snakemake").chmod(0o755)
    environment = study.environment()
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"

    def follow(block):
        # At a terminal, and whatever started these tests: else a shell's jobs in the background do not hear SIGINT.
        shell = shlex.join(["bash", "-m", "-euo", "pipefail", "-c", block])
        done = subprocess.run(
            ["env", "--default-signal=INT", "script", "--quiet", "--return", "--command", shell, "/dev/null"],
            cwd=study.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}"
        return done.stdout

    return follow


def test_every_block_from_the_site_to_a_dead_head(follow, study, finished, cluster):
    (site,) = BLOCKS["Describe your site"]
    look, run, watch = BLOCKS["From login node to table 1"]
    (stop,) = BLOCKS["Stop it"]
    (bury,) = BLOCKS["When the head has died"]
    assert sum(map(len, BLOCKS.values())) == 6

    (study.folder / "cluster/config.yaml").unlink()
    (study.folder / "cluster").rmdir()
    assert "gpu" in follow(site)
    study.write_profile()
    assert re.search(r"^train +1$", follow(look), re.M)

    follow(run)
    study.held()
    assert "rule_train_wildcards_tmanet_n1" in follow(watch)
    follow(stop)
    wait(lambda: not is_running(study), "the head's end")
    assert "Terminating processes on user request" in (study.folder / "head.log").read_text()
    follow(bury)  # it may have missed its job, as the page says
    wait(lambda: states(study) == ["CANCELLED"], "the job's end")

    follow(run)
    study.held()
    os.kill(head_of(study), signal.SIGKILL)
    wait(lambda: not is_running(study), "the head's end")
    assert states(study) == ["CANCELLED", "RUNNING"]
    follow(bury)
    wait(lambda: states(study) == ["CANCELLED", "CANCELLED"], "the job's end")

    follow(run)
    wait(lambda: not is_running(study), "the head's end")
    assert "(100%) done" in (study.folder / "head.log").read_text()
    study.assert_gone_on(finished)


def states(study):
    return [job["JobState"] for job in study.cluster.jobs(study.folder, "train")]


def head_of(study):
    return int((study.folder / "head.pid").read_text())


def is_running(study):
    try:
        return Path(f"/proc/{head_of(study)}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
