import hashlib
import os
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from fewframes.core import weights
from fewframes.core.errors import UserError
from fewframes.core.fetching import fetch
from fewframes.core.weights import Published, check_weights, examine, published, registry, resolve

BYTES = b"numbers" * 1000
SHA256 = hashlib.sha256(BYTES).hexdigest()
TINY = Published("tiny", "http://127.0.0.1:1/tiny.pt", len(BYTES), SHA256, "Apache-2.0", "sam2", "configs/tiny.yaml")
PARTLY = Published("partly", "http://127.0.0.1:1/p.pth", len(BYTES), None, "MIT", "timm", "resnet", SHA256[:8])


REGISTRY = registry()
SHIPPED = {name for name, entry in REGISTRY.items() if entry.shipped}
PUBLISHED = set(REGISTRY) - SHIPPED


@pytest.fixture(autouse=True)
def known(monkeypatch):
    entries = {"tiny": TINY, "partly": PARTLY}
    monkeypatch.setattr(weights, "registry", lambda: entries)


def put(folder, entry, content=BYTES):
    folder.mkdir(exist_ok=True)
    path = folder / entry.file
    path.write_bytes(content)
    return path


def test_every_size_is_published():
    sizes = ("tiny", "small", "base_plus", "large")
    names = {f"{family}_hiera_{size}" for family in ("sam2", "sam2.1") for size in sizes}
    assert names | {"sam_vit_b", "sam_vit_l", "sam_vit_h", "resnet18-5c106cde", "resnet50c.gluon_in1k"} == PUBLISHED


def test_what_is_shipped_is_there_and_small():
    for name in SHIPPED:
        found = examine(REGISTRY[name], "nowhere")
        assert found.verified and found.published == REGISTRY[name] and found.path.suffix == ".safetensors"
        assert found.path.stat().st_size == REGISTRY[name].size < 6_000_000
        assert not found.path.with_name(f"{found.path.name}.json").exists(), "nothing is written where it is installed"


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_an_entry_can_be_fetched_and_verified(name):
    entry = REGISTRY[name]
    assert entry.url.startswith("https://")
    assert re.fullmatch(r"[\w.-]+\.(pt|pth)", entry.file)
    assert entry.size > 4 * 10**7
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256) if entry.sha256 else re.fullmatch(r"[0-9a-f]{8,}", entry.digits)
    assert entry.licence == ("BSD-3-Clause" if name == "resnet18-5c106cde" else "Apache-2.0")


def test_no_two_entries_are_one_file():
    assert len({e.file for e in REGISTRY.values()}) == len({e.sha256 for e in REGISTRY.values()}) == len(REGISTRY)


def test_configs_are_what_the_packages_have():
    # The packages' files are looked at, for importing them takes torch, and seconds.
    sam2, timm = (Path(find_spec(package).origin).parent for package in ("sam2", "timm"))
    for entry in REGISTRY.values():
        if entry.shipped:
            assert Path(entry.config).stem == "compact"
        elif entry.package == "sam2":
            assert (sam2 / entry.config).is_file()
            assert entry.name == Path(entry.file).stem
        elif entry.package == "timm":
            models = (timm / "models" / "resnet.py").read_text()
            assert f"'{entry.url}'" in models  # digits and all
            assert f"'{entry.name}': " in models
            assert f"def {entry.config}(" in models
            assert Path(entry.file).stem.endswith(f"-{entry.digits}")
        elif entry.package == "torchvision":
            assert entry.name == Path(entry.file).stem == f"{entry.config}-{entry.sha256[:8]}"
        else:
            assert entry.package == "segment-anything"
            assert entry.file.startswith(f"sam_{entry.config}_")


def test_a_name_leads_to_its_file(tmp_path):
    path = put(tmp_path, TINY)
    found = resolve("tiny", tmp_path)
    assert (found.path, found.sha256, found.verified, found.published) == (path, SHA256, True, TINY)


def test_a_file_is_read_once(tmp_path, monkeypatch):
    put(tmp_path, TINY)
    resolve("tiny", tmp_path)
    monkeypatch.setattr(weights, "_hash", None)
    assert resolve("tiny", tmp_path).verified


def test_a_changed_file_is_noticed(tmp_path):
    path = put(tmp_path, TINY)
    resolve("tiny", tmp_path)
    status = path.stat()
    path.write_bytes(BYTES[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(UserError, match=r"is not the file that was published as tiny .*expected\): remove it"):
        resolve("tiny", tmp_path)


@pytest.mark.parametrize("note", ["", "[]", "{", '{"sha256": 3}'])
def test_a_damaged_note_is_made_again(tmp_path, note):
    put(tmp_path, TINY)
    resolve("tiny", tmp_path)
    (tmp_path / "tiny.pt.json").write_text(note)
    assert resolve("tiny", tmp_path).sha256 == SHA256
    assert SHA256 in (tmp_path / "tiny.pt.json").read_text()


def test_a_folder_that_cannot_be_written_will_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise UserError("read-only")

    put(tmp_path, TINY)
    monkeypatch.setattr(weights, "write_text", refuse)
    assert resolve("tiny", tmp_path).verified
    assert not (tmp_path / "tiny.pt.json").exists()


def test_what_was_not_fetched_names_the_command(tmp_path):
    with pytest.raises(UserError, match=f"tiny are not at .*run `fewframes fetch tiny --folder {tmp_path}`"):
        resolve("tiny", tmp_path)


def test_a_truncated_file_is_refused(tmp_path):
    put(tmp_path, TINY, BYTES[:-1])
    with pytest.raises(UserError, match=f"{len(BYTES) - 1} bytes.*where {len(BYTES)}"):
        resolve("tiny", tmp_path)


def test_a_name_without_a_whole_checksum_is_unverified_until_somebody_vouches(tmp_path):
    put(tmp_path, PARTLY)
    assert not resolve("partly", tmp_path).verified
    assert resolve("partly", tmp_path, SHA256).verified
    assert resolve("partly", tmp_path).verified  # kept
    with pytest.raises(UserError, match="one that begins with"):
        resolve("partly", tmp_path, "0" * 64)


def test_what_somebody_vouched_for_is_the_content(tmp_path):
    loose = replace(PARTLY, digits=SHA256[0])
    path = put(tmp_path, loose)
    assert examine(loose, tmp_path, SHA256).verified
    contents = (f"{i:07}".encode() * 1000 for i in range(1000))
    path.write_bytes(next(c for c in contents if loose.check(hashlib.sha256(c).hexdigest())))
    os.utime(path, ns=(0, 0))
    assert not examine(loose, tmp_path).verified


def test_the_size_counts_where_the_checksum_is_not_whole(tmp_path):
    put(tmp_path, PARTLY)
    with pytest.raises(UserError, match="is not the file that was published as partly"):
        examine(replace(PARTLY, size=len(BYTES) + 1), tmp_path)


def test_any_local_file_will_do(tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"mine")
    found = resolve(path)
    assert (found.path, found.verified, found.published) == (path, False, None)
    assert found.sha256 == hashlib.sha256(b"mine").hexdigest()
    assert resolve(path, sha256=found.sha256.upper()) == weights.Weights(path, found.sha256, True, None)
    with pytest.raises(UserError, match="not 000000000000"):
        resolve(path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == [path]  # nothing is written beside it


def test_a_known_file_is_known_by_any_name(tmp_path):
    path = tmp_path / "renamed.bin"
    path.write_bytes(BYTES)
    found = resolve(str(path))
    assert (found.verified, found.published) == (True, TINY)


def test_a_name_goes_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").write_bytes(b"mine")
    with pytest.raises(UserError, match="fewframes fetch tiny"):
        resolve("tiny")
    assert resolve("./tiny").path == Path("./tiny")


def test_what_is_neither_name_nor_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"sam9 do not exist: correct the path, or name published ones .tiny, partly"):
        resolve("sam9")
    with pytest.raises(UserError, match="is no file"):
        resolve(tmp_path)
    with pytest.raises(UserError, match="'sam9': choose one of tiny, partly"):
        published("sam9")


def test_weights_of_another_checksum_are_refused(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(BYTES)
    check_weights(path, "")
    check_weights(path, SHA256.upper())
    with pytest.raises(UserError, match="not 000000000000"):
        check_weights(path, "0" * 64)
    with pytest.raises(UserError, match=r"absent.pt cannot be read .No such file"):
        check_weights(tmp_path / "absent.pt", "")


def test_shipped_weights_need_no_fetching_and_are_what_they_must_be(tmp_path, monkeypatch):
    content = b"ours"
    entry = Published("sam2_ours", "", 4, hashlib.sha256(content).hexdigest(), "Apache-2.0", "sam2", "compact")
    monkeypatch.setitem(weights.registry(), "sam2_ours", entry)
    monkeypatch.setattr(weights, "_SHIPPED", tmp_path / "shipped")
    with pytest.raises(UserError, match="comes with Fewframes: install it again"):
        fetch("sam2_ours", tmp_path / "weights")
    (tmp_path / "shipped").mkdir()
    path = tmp_path / "shipped" / "sam2_ours.safetensors"
    path.write_bytes(content)
    assert fetch("sam2_ours", tmp_path / "weights") == path
    assert resolve("sam2_ours", tmp_path / "weights").verified
    assert [p.name for p in path.parent.iterdir()] == [path.name], "nothing is noted in the installation"
    path.write_bytes(b"other")
    with pytest.raises(UserError, match="is not the file that comes with Fewframes"):
        resolve("sam2_ours", tmp_path / "weights")
