"""Fetching from a server on this machine that can be told to misbehave; nothing here needs a network."""

import errno
import fcntl
import hashlib
import http.server
import json
import random
import resource
import shutil
import threading
import time
from collections import namedtuple

import pytest

from fewframes.core import fetching
from fewframes.core.errors import UserError
from fewframes.core.fetching import download, fetch
from fewframes.core.weights import Published

BYTES = random.Random(0).randbytes(3 << 20)
OTHER = random.Random(1).randbytes(len(BYTES))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        plan = server.plan.pop(0) if server.plan else {}
        if "status" in plan:
            self.send_error(plan["status"])
            return
        body, start = server.body, 0
        asked = self.headers.get("Range")
        if asked and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + plan.get("cut", len(body))
        step = plan.get("step", len(body))
        for at in range(start, min(end, len(body)), step):
            self.wfile.write(body[at : min(at + step, end)])
            self.wfile.flush()
            server.sent.set()
            time.sleep(plan.get("pause", 0))
        if plan.get("hold"):
            server.go_on.wait(5)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.body, server.etag, server.ranges, server.plan, server.asked = BYTES, '"one"', True, [], []
    server.sent, server.go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


def entry(server, body=BYTES, **changes):
    facts = {
        "name": "tiny",
        "url": f"http://127.0.0.1:{server.server_address[1]}/models/tiny.pt",
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "licence": "Apache-2.0",
        "package": "sam2",
        "config": "configs/tiny.yaml",
    }
    return Published(**(facts | changes))


class Waits(list):
    """Stands in for sleeping."""

    def __call__(self, seconds):
        self.append(seconds)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_whole_file_is_in_place_and_nothing_else(server, tmp_path, capsys):
    path = download(entry(server), tmp_path / "weights")
    assert path == tmp_path / "weights" / "tiny.pt"
    assert path.read_bytes() == BYTES
    assert names(path.parent) == ["tiny.pt", "tiny.pt.json"]
    assert json.loads((path.parent / "tiny.pt.json").read_text())["verified"] is True
    assert "tiny, MiB: 3/3, done" in capsys.readouterr().err


def test_a_file_that_is_there_needs_no_network(server, tmp_path, monkeypatch):
    path = download(entry(server), tmp_path)
    server.shutdown()
    monkeypatch.setattr("hashlib.file_digest", None)  # nor is it read again
    assert download(entry(server, url="http://127.0.0.1:1/tiny.pt"), tmp_path) == path
    assert len(server.asked) == 1


def test_a_cut_is_resumed_where_it_was(server, tmp_path):
    server.plan = [{"cut": 1 << 20}, {"cut": 100_000}]
    waits = Waits()
    assert download(entry(server), tmp_path, sleep=waits).read_bytes() == BYTES
    assert [asked for _, asked, _ in server.asked] == [None, f"bytes={1 << 20}-", f"bytes={(1 << 20) + 100_000}-"]
    assert {version for _, _, version in server.asked[1:]} == {'"one"'}
    assert waits == [1, 1]  # something came each time


def test_another_process_goes_on_where_one_stopped(server, tmp_path, capsys):
    server.plan = [{"cut": 2 << 20}]

    def killed(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(entry(server), tmp_path, sleep=killed)
    assert "stopped when 2 of 3 MiB were here; the same command goes on from there" in capsys.readouterr().err
    assert names(tmp_path) == ["tiny.pt.part", "tiny.pt.part.version"]
    assert download(entry(server), tmp_path).read_bytes() == BYTES
    assert server.asked[1][1] == f"bytes={2 << 20}-"
    assert names(tmp_path) == ["tiny.pt", "tiny.pt.json"]


@pytest.mark.parametrize("ranges, etag", [(False, '"one"'), (True, ""), (True, 'W/"weak"')])
def test_a_server_that_cannot_resume_sends_it_all_again(server, tmp_path, ranges, etag):
    server.ranges, server.etag = ranges, etag
    server.plan = [{"cut": 1 << 20}]
    assert download(entry(server), tmp_path, sleep=Waits()).read_bytes() == BYTES
    assert len(server.asked) == 2
    # Without a strong name for the version, the rest is not even asked for.
    assert server.asked[1][1] == (f"bytes={1 << 20}-" if etag == '"one"' else None)


def test_a_server_that_always_begins_again_is_given_up(server, tmp_path):
    server.ranges = False
    server.plan = [{"cut": 1 << 20}] * 20
    waits = Waits()
    with pytest.raises(UserError, match=r"tiny cannot be fetched from 127.0.0.1:.*ended early.*goes on from there"):
        download(entry(server), tmp_path, sleep=waits)
    assert waits == [1, 1, 2, 4]


def test_a_file_changed_on_the_way_begins_again(server, tmp_path):
    server.body, server.etag, server.plan = OTHER, '"zero"', [{"cut": 1 << 20}]

    def change(_):
        server.body, server.etag = BYTES, '"one"'

    assert download(entry(server), tmp_path, sleep=change).read_bytes() == BYTES
    assert [asked for _, asked, _ in server.asked] == [None, f"bytes={1 << 20}-"]


@pytest.mark.parametrize("left", [OTHER[: 1 << 20], OTHER, OTHER + b"more"])
def test_a_part_that_does_not_fit_is_fetched_again(server, tmp_path, left):
    (tmp_path / "tiny.pt.part").write_bytes(left)
    (tmp_path / "tiny.pt.part.version").write_text('"one"')
    assert download(entry(server), tmp_path).read_bytes() == BYTES
    assert server.asked[-1][1] is None


def test_a_whole_part_needs_no_network(server, tmp_path):
    (tmp_path / "tiny.pt.part").write_bytes(BYTES)
    (tmp_path / "tiny.pt.part.version").write_text('"one"')
    assert download(entry(server), tmp_path).read_bytes() == BYTES
    assert not server.asked


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    server.body = OTHER
    with pytest.raises(UserError, match=f"SHA-256 {hashlib.sha256(OTHER).hexdigest()}, not .* and was deleted"):
        download(entry(server), tmp_path)
    assert names(tmp_path) == []


def test_another_size_is_refused_before_it_comes(server, tmp_path):
    server.body = b"<html>Please log in</html>"
    with pytest.raises(UserError, match=f"has 26 bytes, not {len(BYTES)}: it is a proxy's page"):
        download(entry(server), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("status", [403, 404, 407])
def test_what_is_not_to_be_had_is_not_asked_for_again(server, tmp_path, status):
    server.plan = [{"status": status}] * 2
    with pytest.raises(UserError, match=r"HTTP 40[34] .* put it at .*tiny.pt|password into HTTPS_PROXY"):
        download(entry(server), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(server, tmp_path, status):
    server.plan = [{"status": status}] * 2
    waits = Waits()
    assert download(entry(server), tmp_path, sleep=waits).read_bytes() == BYTES
    assert waits == [1, 2]


def test_no_network_is_told_in_a_sentence(server, tmp_path):
    waits = Waits()
    with pytest.raises(
        UserError, match=r"cannot be fetched from 127.0.0.1:1 \(.*refused\).*copy the file to .*tiny.pt"
    ):
        download(entry(server, url="http://127.0.0.1:1/tiny.pt"), tmp_path, sleep=waits)
    assert waits == [1, 2, 4]


def test_a_trickle_is_patiently_taken(server, tmp_path):
    server.body = BYTES[: 1 << 16]
    server.plan = [{"step": 1 << 12, "pause": 0.01}]
    assert download(entry(server, server.body), tmp_path, timeout=0.5).read_bytes() == server.body
    assert len(server.asked) == 1


def test_silence_is_cut_and_nothing_lost(server, tmp_path):
    server.plan = [{"cut": 1000, "hold": True}]
    assert download(entry(server), tmp_path, sleep=Waits(), timeout=0.2).read_bytes() == BYTES
    assert server.asked[1][1] == "bytes=1000-"


def test_two_at_once_fetch_it_once(server, tmp_path, capsys):
    server.plan = [{"cut": 1 << 20, "hold": True}]
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(download(entry(server), tmp_path, sleep=Waits())))
        for _ in range(2)
    ]
    threads[0].start()
    assert server.sent.wait(5)
    threads[1].start()
    deadline = time.monotonic() + 5
    while "another process is fetching it" not in capsys.readouterr().err and time.monotonic() < deadline:
        time.sleep(0.01)
    server.go_on.set()
    for thread in threads:
        thread.join(10)
    assert paths == [tmp_path / "tiny.pt"] * 2
    assert paths[0].read_bytes() == BYTES
    assert [asked for _, asked, _ in server.asked] == [None, f"bytes={1 << 20}-"]
    assert names(tmp_path) == ["tiny.pt", "tiny.pt.json"]


def test_without_locks_each_has_a_part_of_its_own(server, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    server.plan = [{"cut": 1 << 20}]
    assert download(entry(server), tmp_path, sleep=Waits()).read_bytes() == BYTES
    assert server.asked[1][1] == f"bytes={1 << 20}-"
    assert names(tmp_path) == ["tiny.pt", "tiny.pt.json"]


def test_a_full_disk_is_seen_before(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(UserError, match="needs 3 MB more, and 0 MB are free"):
        download(entry(server), tmp_path)
    assert not server.asked


def test_a_disk_that_fills_up_is_named_and_what_arrived_stays(server, tmp_path):
    # No file may grow over this size now: the kernel refuses the write half-way, as it does on a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(UserError, match=r"tiny.pt.part cannot be written \(File too large\): free space"):
            download(entry(server), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(server.asked) == 1  # not taken for a fault of the network
    assert download(entry(server), tmp_path).read_bytes() == BYTES
    assert server.asked[1][1] == f"bytes={1 << 20}-"


def test_a_folder_that_is_a_file_is_named(server, tmp_path):
    (tmp_path / "weights").write_text("")
    with pytest.raises(UserError, match=r"weights/tiny.pt cannot be written"):
        download(entry(server), tmp_path / "weights")


def test_another_file_in_its_place_is_not_touched(server, tmp_path):
    (tmp_path / "tiny.pt").write_bytes(OTHER)
    with pytest.raises(UserError, match=r"tiny.pt is not the file that was published as tiny .*: remove it"):
        download(entry(server), tmp_path)
    assert (tmp_path / "tiny.pt").read_bytes() == OTHER
    assert not server.asked


def test_a_proxy_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
    assert download(entry(server, url="http://weights.invalid/tiny.pt"), tmp_path).read_bytes() == BYTES
    assert server.asked[0][0] == "http://weights.invalid/tiny.pt"


def test_without_a_whole_checksum_the_file_is_called_unverified(server, tmp_path, capsys):
    digits = hashlib.sha256(BYTES).hexdigest()[:8]
    partly = entry(server, sha256=None, digits=digits)
    assert download(partly, tmp_path).read_bytes() == BYTES
    assert "unverified: no whole checksum of tiny is known, only its size and the first 8" in capsys.readouterr().err
    # Who knows it may say so afterwards, and need not again.
    download(partly, tmp_path, hashlib.sha256(BYTES).hexdigest().upper())
    capsys.readouterr()
    download(partly, tmp_path)
    assert "unverified" not in capsys.readouterr().err


def test_digits_that_differ_are_refused(server, tmp_path):
    with pytest.raises(UserError, match="not one that begins with 01234567, and was deleted"):
        download(entry(server, sha256=None, digits="01234567"), tmp_path)


def test_a_checksum_that_contradicts_the_registry_is_refused(server, tmp_path):
    with pytest.raises(UserError, match="is published with the SHA-256"):
        download(entry(server), tmp_path, "0" * 64)
    with pytest.raises(UserError, match="'abc' is no SHA-256"):
        download(entry(server), tmp_path, "abc")
    assert not server.asked


def test_names_lead_to_the_registry(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "published", {"tiny": entry(server)}.__getitem__)
    assert fetch("tiny", tmp_path).read_bytes() == BYTES
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"No weights are known by the name 'sam3': choose one of sam2.1_hiera_tiny, "):
        fetch("sam3", tmp_path)
