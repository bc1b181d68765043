"""Weights of SAM 2 by name or by file: what a study means by them, and that only those that fit are loaded."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fewframes.core.errors import UserError
from fewframes.core.fetching import fetch
from fewframes.core.weights import Published, registry
from fewframes.labelling.models.checkpoint import (
    chosen_weights,
    config_digest,
    published_config,
    published_weights,
)
from fewframes.labelling.models.loading import load_weights
from fewframes.labelling.models.sam2 import SIZES, build_model

SIDE = 128
OURS = [name for name, entry in registry().items() if entry.package == "sam2" and not entry.shipped]
OTHERS = [name for name, entry in registry().items() if entry.package != "sam2"]


@pytest.fixture(scope="module")
def state():
    return build_model("small", image_size=SIDE, seed=3).state_dict()


@pytest.fixture(scope="module")
def checkpoint(state, tmp_path_factory):
    """As Meta publishes them."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    torch.save({"model": state}, path)
    return path


@pytest.fixture
def tiny(checkpoint, monkeypatch):
    """The checkpoint as a published one, from a server on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    handler = partial(Quiet, directory=checkpoint.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        content = checkpoint.read_bytes()
        url = f"http://127.0.0.1:{server.server_address[1]}/{checkpoint.name}"
        sha256 = hashlib.sha256(content).hexdigest()
        entry = Published("tiny", url, len(content), sha256, "MIT", "sam2", "configs/tiny/small.yaml")
        monkeypatch.setitem(registry(), "tiny", entry)
        yield entry
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_fetched_weights_build_what_they_were_published_for(tiny, state, tmp_path):
    path = fetch("tiny", tmp_path)
    found, config = chosen_weights("tiny", "", tmp_path)
    assert (found.path, found.verified, found.published, config) == (path, True, tiny, "small")
    loaded = build_model(config, found.path, image_size=SIDE).state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_published_file_is_known_wherever_it_lies(tiny, checkpoint, tmp_path):
    renamed = tmp_path / "mine.bin"
    renamed.symlink_to(checkpoint)
    found, config = chosen_weights(str(renamed), "", tmp_path / "none")
    assert (found.path, found.published, config) == (renamed, tiny, "small")
    assert chosen_weights(str(renamed), "own.yaml", tmp_path)[1] == "own.yaml"  # who names one gets it


@pytest.mark.parametrize("name", OURS)
def test_every_published_size_has_a_packaged_configuration(name):
    entry = published_weights(name)
    config = published_config(entry)
    assert config in SIZES and entry.config == f"configs/{config.partition('_')[0]}/{config}.yaml"


def test_names_are_told_from_files():
    assert len({published_config(published_weights(name)) for name in OURS}) == len(SIZES)
    assert published_weights("random") is published_weights(f"./{OURS[0]}") is published_weights("a.pt") is None


def test_compact_is_the_one_that_is_shipped(tmp_path):
    found, config = chosen_weights("compact", "", tmp_path)
    assert config == "compact" and found.path.stem == "sam2_compact"
    assert build_model(config, found.path).image_size == 384


def test_weights_that_were_not_fetched_name_the_command(tmp_path):
    with pytest.raises(UserError, match=rf"run `fewframes fetch sam2_hiera_tiny --folder {tmp_path}`"):
        chosen_weights("sam2_hiera_tiny", "", tmp_path)


def test_a_damaged_file_is_refused(tiny, tmp_path):
    path = fetch("tiny", tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(0, 0))  # another time, however coarse the clock
    with pytest.raises(UserError, match=r"is not the file that was published as tiny .*: remove it"):
        chosen_weights("tiny", "", tmp_path)


@pytest.mark.parametrize("name", OTHERS)
def test_weights_of_another_package_are_refused_before_they_are_missed(name, tmp_path):
    for ask in (partial(chosen_weights, name, "small", tmp_path), partial(published_weights, name)):
        with pytest.raises(UserError, match=rf"^{name} are weights of [a-z-]+, not of sam2: set .* to one of sam2"):
            ask()


def test_a_file_of_another_package_is_known_by_its_content(tmp_path, monkeypatch):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"numbers")
    sha256 = hashlib.sha256(b"numbers").hexdigest()
    other = Published("vit", "http://127.0.0.1:1/vit.pth", 7, sha256, "MIT", "segment-anything", "vit_b")
    monkeypatch.setitem(registry(), "vit", other)
    with pytest.raises(UserError, match=r"mine.pth is vit, weights of segment-anything, not of sam2"):
        chosen_weights(str(path), "small", tmp_path)


def test_a_file_that_nobody_knows_needs_a_configuration(checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"tiny.pt is no published file, .*: set propagation.sam2.config\.$"):
        chosen_weights(str(checkpoint), "", tmp_path)
    found, config = chosen_weights(str(checkpoint), "small", tmp_path)
    assert (found.path, found.verified, found.published, config) == (checkpoint, False, None, "small")
    assert found.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_random_weights_are_no_file_and_need_a_configuration(tmp_path):
    assert chosen_weights("random", "small", tmp_path) == (None, "small")
    with pytest.raises(UserError, match=r"no configuration of their own: set propagation.sam2.config"):
        chosen_weights("random", "", tmp_path)


def test_choosing_takes_no_torch():
    module = "fewframes.labelling.models.checkpoint"
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'hydra', 'sam2'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_configuration_changes_with_what_counts_in_it(tmp_path):
    assert config_digest("small") != config_digest("sam2.1_hiera_t")
    own, other = tmp_path / "own.yaml", tmp_path / "other.yml"
    own.write_text("model: {image_size: 64, image_encoder: {a: 1}}\n")
    other.write_text("# a comment\ntrainer: 1\nmodel:\n  image_encoder:\n    a: 1\n  image_size: 64\n")
    assert config_digest(str(own)) == config_digest(str(other))
    other.write_text("model: {image_size: 64, image_encoder: {a: 2}}\n")
    assert config_digest(str(own)) != config_digest(str(other))


@pytest.mark.parametrize("content", [None, b"model: [", b"\xff"])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "own.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"own.yaml is no readable YAML .*: correct it"):
        config_digest(str(path))


def test_a_configuration_whose_fault_has_no_words_is_named(tmp_path):
    path = tmp_path / "own.yaml"
    small = {"_target_": "sam2.modeling.backbones.hieradet.Hiera", "stages": [1, 1, 2]}  # a bare assertion: four
    path.write_text(f"model: {{image_size: 64, image_encoder: {small}}}")
    with pytest.raises(UserError, match=r"own.yaml cannot be built \(AssertionError\): correct it"):
        build_model(str(path))


def test_safetensors_hold_the_state_dictionary_itself(state, tmp_path):
    path = tmp_path / "small.safetensors"
    safetensors.torch.save_file(state, path)
    loaded = build_model("small", path, image_size=SIDE).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def spoilt(state, change):
    spoilt = dict(state)
    first, *_, last = state
    if "missing" in change:
        del spoilt[first], spoilt[last]
    if "unexpected" in change:
        spoilt |= {"module.a": torch.zeros(1), "module.b": torch.zeros(1)}
    if "shape" in change:
        spoilt["no_mem_embed"] = torch.zeros(1, 1, 65)
    return spoilt


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("missing", r"\(Missing keys: 2, the first {first}\)"),
        ("unexpected", r"\(unexpected keys: 2, the first module.a\)"),
        ("shape", r"\(other shapes: 1, the first no_mem_embed, \[1, 1, 65\] for \[1, 1, 64\]\)"),
        ("missing, unexpected", r"\(Missing keys: 2, the first {first}; unexpected keys: 2, the first module.a\)"),
    ],
)
def test_weights_of_another_model_name_what_differs(state, tmp_path, suffix, change, reason):
    path = tmp_path / f"other.{suffix}"
    content = spoilt(state, change)
    safetensors.torch.save_file(content, path) if suffix == "safetensors" else torch.save({"model": content}, path)
    model = build_model("small", image_size=SIDE)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    reason = reason.format(first=next(iter(state)))
    with pytest.raises(UserError, match=rf"other.{suffix} do not fit the SAM 2 configuration small {reason}: give the"):
        load_weights(model, path, "SAM 2 configuration small", within="model")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("damage", ["absent", "empty", "text", "cut", "folder"])
def test_files_that_are_no_weights_are_told_in_a_sentence(state, checkpoint, tmp_path, suffix, damage):
    path = tmp_path / f"bad.{suffix}"
    if damage == "folder":
        path.mkdir()
    elif damage == "cut":
        safetensors.torch.save_file(state, path) if suffix == "safetensors" else torch.save({"model": state}, path)
        os.truncate(path, path.stat().st_size - 100)
    elif damage != "absent":
        path.write_bytes(b"no weights" if damage == "text" else b"")
    with pytest.raises(UserError, match=rf"^The weights \S*bad.{suffix} do not (exist|fit .* small \(\w+)") as caught:
        build_model("small", path, image_size=SIDE)
    assert ("do not exist" in str(caught.value)) == (damage == "absent")
    assert "\n" not in str(caught.value)


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_cannot_run_code_and_nobody_is_told_how_it_could(tmp_path):
    torch.save({"model": {"a": Code(tmp_path / "ran")}}, tmp_path / "code.pt")
    with pytest.raises(UserError, match=r"code.pt .* holds more than tensors") as caught:
        build_model("small", tmp_path / "code.pt", image_size=SIDE)
    assert not (tmp_path / "ran").exists() and "weights_only" not in str(caught.value)
