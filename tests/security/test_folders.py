"""Folders that anybody may write to: what is trusted there is refused, with real modes."""

import os
import subprocess
from pathlib import Path

import pytest
from snakemake.utils import validate

from fewframes.core import trust
from fewframes.core.errors import UserError
from fewframes.core.fetching import download
from fewframes.core.files import ContentHashes
from fewframes.core.trust import refuse_open, refuse_others
from fewframes.core.weights import Published, examine
from fewframes.experiments.study import Study
from fewframes.learning.steps import _check_compiled

REPOSITORY = Path(__file__).parents[2]
ENTRY = Published("tiny", "https://example.org/tiny.pt", 3, "0" * 64, "", "sam2", "")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "above" / "cache"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775, 0o2775, 0o770])
def test_ones_own_and_a_groups_folder_are_trusted(folder, mode):
    folder.chmod(mode)
    refuse_open(folder, "weights")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_everybodys_is_not(folder, mode):
    folder.chmod(mode)
    with pytest.raises(UserError, match=rf"Anybody may write to {folder}, and weights.*`chmod o-w {folder}`"):
        refuse_open(folder, "weights")


def test_what_is_run_must_not_be_replaced_by_anybody(folder):
    folder.parent.chmod(0o777)
    refuse_open(folder, "weights")
    for place in (folder, folder / "not" / "there"):
        with pytest.raises(UserError, match=f"Anybody may write to {folder.parent}, and code"):
            refuse_others(place, "code", "choose another")
    folder.parent.chmod(0o1777)  # as /tmp: none but its owner may rename it
    refuse_others(folder, "code", "choose another")


def test_a_link_is_judged_by_where_it_leads(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    refuse_open(tmp_path / "link", "weights")
    folder.chmod(0o777)
    with pytest.raises(UserError):
        refuse_open(tmp_path / "link", "weights")


def test_the_mend_mends(folder):
    folder.chmod(0o777)
    with pytest.raises(UserError) as refused:
        refuse_open(folder, "weights")
    command = str(refused.value).split("`")[1].split()
    subprocess.run(command, check=True)
    refuse_open(folder, "weights")


def test_what_is_run_must_be_ones_own(folder, monkeypatch):
    refuse_others(folder, "code", "choose another")
    refuse_others(folder / "absent", "code", "choose another")
    monkeypatch.setattr(trust.os, "geteuid", lambda: os.stat(folder).st_uid + 1)
    if os.stat(folder).st_uid == 0:
        os.chown(folder, 12345, -1)
    with pytest.raises(UserError, match="belongs to another user, and code there would be run: choose another"):
        refuse_others(folder, "code", "choose another")


def test_hashes_weights_and_results_are_refused_there(folder):
    folder.chmod(0o777)
    with pytest.raises(UserError, match="hashes of files"):
        ContentHashes(folder, "test")
    for use in (examine, download):
        with pytest.raises(UserError, match="fetched weights there would be trusted"):
            use(ENTRY, folder)
    assert list(folder.iterdir()) == []


def test_shipped_weights_are_no_cache(folder):
    folder.chmod(0o777)
    shipped = Published("sam_compact", "", 3, "0" * 64, "", "segment-anything", "")
    with pytest.raises(UserError, match="install it again"):
        examine(shipped, folder)  # the folder was not looked at


def test_compiled_code_is_ones_own(folder, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    _check_compiled()
    folder.chmod(0o777)
    with pytest.raises(UserError, match="compiled code there would be trusted"):
        _check_compiled()


def test_a_study_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "data").mkdir()
    results = tmp_path / "results"
    (results / "d").mkdir(parents=True)
    config = {"dataset": {"name": "d", "root": str(tmp_path / "data")}, "results": str(results)}
    validate(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
    Study(config, REPOSITORY / "workflow/experiments/catalogue.yaml")
    (results / "d").chmod(0o777)
    with pytest.raises(UserError, match=f"Anybody may write to {results}/d, and results and hashes"):
        Study(config, REPOSITORY / "workflow/experiments/catalogue.yaml")
