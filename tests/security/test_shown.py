"""What people are shown: no credentials, and no name that steers a terminal or forges a line."""

import hashlib
import http.client
import json
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.core import progress
from fewframes.core.errors import UserError
from fewframes.core.fetching import _Redirects, download
from fewframes.core.shown import one_line, without_credentials
from fewframes.core.weights import Published, resolve

SECRET = "hunter2"
WORDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)


@given(WORDS, WORDS, WORDS)
def test_user_and_password_are_left_out(user, password, rest):
    shown = without_credentials(f"see https://{user}:{password}@host.org/{rest} for more")
    assert shown == f"see https://***@host.org/{rest} for more"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://token@host/a", "https://***@host/a"),
        ("https:/me:pass@host/a", "https:/***@host/a"),
        ("s3://a:b@host/c@d", "s3://***@host/c@d"),
        ("http://u:p%40s@proxy:8080", "http://***@proxy:8080"),
        ("https://h/a.pt?X-Signature=abc&e=1 and https://h/b", "https://h/a.pt?*** and https://h/b"),
        ("mail a@b.org, or https://h/a", "mail a@b.org, or https://h/a"),
        ("//share/x@y: a folder", "//share/x@y: a folder"),
    ],
)
def test_addresses(text, shown):
    assert without_credentials(text) == shown
    assert str(UserError(text)) == shown


@given(st.text())
def test_a_line_is_one_line_of_visible_characters(text):
    assert one_line(text).isprintable()
    if text.isprintable() and ":/" not in text:
        assert one_line(text) == text


def test_progress_and_errors_steer_no_terminal(capsys, tmp_path):
    progress.say("3 left out: \x1b]0;title\x07 a\nfault: forged\u202e")
    assert capsys.readouterr().err == "3 left out: \\x1b]0;title\\x07 a\\nfault: forged\\u202e\n"
    name = "no\x1b[31m\nsuch"
    command = [sys.executable, "-m", "fewframes", "fetch", name, "--folder", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 2 and "\x1b" not in said.stderr and said.stderr.count("\n") == 1


def test_weights_that_are_an_address_are_named_without_credentials():
    with pytest.raises(UserError) as refused:
        resolve(f"https://me:{SECRET}@host.org/w.pt")
    assert SECRET not in str(refused.value) and "host.org/w.pt" in str(refused.value)


# --- fetching -----------------------------------------------------------------------------------------


def entry(url):
    return Published("tiny", url, 3, "0" * 64, "", "sam2", "")


@pytest.fixture
def server(monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response_only(*self.server.status)
            for name, value in self.server.fields.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "*")
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.status, server.fields = (404, "Not Found"), {}
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(server):
    return f"http://127.0.0.1:{server.server_address[1]}/tiny.pt"


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://host/x", "data:,x", f"gopher://me:{SECRET}@host/x?k=1"]
)
def test_a_redirection_stays_in_the_web(server, tmp_path, target):
    server.status, server.fields = (302, "Found"), {"Location": target}
    with pytest.raises(UserError, match=r"which is not followed|is not to be had") as refused:
        download(entry(url(server)), tmp_path, sleep=lambda _: None)
    assert SECRET not in str(refused.value) and "k=1" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_https_is_not_left():
    asked = urllib.request.Request("https://host.org/tiny.pt")
    follow = _Redirects().redirect_request
    with pytest.raises(UserError, match=r"https://host\.org sends us on to http://cdn\.org, which is not followed"):
        follow(asked, None, 302, "Found", http.client.HTTPMessage(), "http://cdn.org/tiny.pt?key=1")
    there = follow(asked, None, 302, "Found", http.client.HTTPMessage(), "https://cdn.org/tiny.pt?key=1")
    assert there is not None and there.full_url == "https://cdn.org/tiny.pt?key=1"


def test_a_servers_own_words_are_not_repeated(server, tmp_path, capsys):
    for code in (404, 503):
        server.status = (code, f"see https://me:{SECRET}@cdn/x?key=1")
        with pytest.raises(UserError) as refused:
            download(entry(url(server)), tmp_path, sleep=lambda _: None)
        assert SECRET not in str(refused.value) + capsys.readouterr().err


@pytest.mark.parametrize("proxy", [f"http://me:{SECRET}", f"http://me:a/{SECRET}@proxy:8080", f"http:me:{SECRET}"])
def test_a_proxys_password_is_not_shown(tmp_path, monkeypatch, capsys, proxy):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises(UserError) as refused:
        download(entry("http://127.0.0.1:9/tiny.pt"), tmp_path, sleep=lambda _: None)
    assert SECRET not in str(refused.value) + capsys.readouterr().err


def test_what_is_noted_beside_weights_is_theirs_alone(tmp_path, monkeypatch, server):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    server.status, server.fields = (200, "OK"), {"Content-Length": "0"}
    good = Published("tiny", url(server), 0, hashlib.sha256(b"").hexdigest(), "", "sam2", "")
    path = download(good, tmp_path)
    note = json.loads(path.with_name("tiny.pt.json").read_text())
    assert sorted(note) == ["sha256", "size", "time", "url", "verified"]
