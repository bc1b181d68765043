"""Fetching published weights: resumed where a fetch was cut, verified while they arrive, in place only when whole."""

from __future__ import annotations

import http.client
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fewframes.core.errors import UserError
from fewframes.core.partfile import PartFile, part_file
from fewframes.core.progress import progress, say
from fewframes.core.trust import refuse_open
from fewframes.core.weights import FOLDER, Published, Weights, examine, expected, keep_note, published

_MIB = 1 << 20
_TRIES = 4
"""Attempts in a row that bring nothing new before giving up; 1, 2 and 4 seconds between them."""
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)
"""Of urllib's protocols those of the web: neither local files nor FTP."""
_PASSING = (408, 416, 425, 429)
"""HTTP errors below 500 that another request may not meet: timeout, wrong range, too early, too many requests."""


def fetch(name: str, folder: str | Path = FOLDER, sha256: str = "") -> Path:
    """Fetch published weights into `folder`, unless they lie there or are shipped, and return the file's path.

    `sha256` vouches for weights whose checksum the registry lacks; without it they count as unverified, which is said.
    The network is reached as `urllib` does it: HTTP_PROXY, HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR hold.
    Raises `UserError` for whatever goes wrong; what had arrived stays, and the next call goes on from there.
    """
    entry = published(name)
    return examine(entry, folder, sha256).path if entry.shipped else download(entry, folder, sha256)


def download(
    entry: Published,
    folder: str | Path,
    sha256: str = "",
    *,
    sleep: Callable[[float], object] = time.sleep,
    timeout: float = 30.0,
) -> Path:
    """Fetch one entry, as `fetch` does; `timeout` is how many seconds the server may be silent."""
    target = Path(folder) / entry.file
    refuse_open(folder, "fetched weights")
    wanted = expected(entry, sha256)
    if not target.exists():
        with part_file(target) as part:
            if not target.exists():  # else somebody else was faster
                _Download(entry, target, part, wanted, sleep, timeout).run()
    weights = examine(entry, folder, sha256)
    if not weights.verified:
        say(
            f"{target} is unverified: no whole checksum of {entry.name} is known, only its size and the first "
            f"{len(entry.digits)} digits of its SHA-256, and these agree. It has {weights.sha256}; who knows that it "
            "is right can say so with --sha256."
        )
    return target


class _Download:
    """One file from one server into one part file."""

    def __init__(
        self,
        entry: Published,
        target: Path,
        part: PartFile,
        wanted: str,
        sleep: Callable[[float], object],
        timeout: float,
    ) -> None:
        self._entry = entry
        self._target = target
        self._part = part
        self._wanted = wanted
        self._sleep = sleep
        self._timeout = timeout
        self._opener = urllib.request.OpenerDirector()
        for handler in (*_HANDLERS, _Redirects):
            self._opener.add_handler(handler())

    def run(self) -> None:
        """Bring all of it, verify it and put it in place."""
        entry, part = self._entry, self._part
        resumed = part.size > 0
        if resumed:
            say(f"{entry.name}: {self._arrived()} are here from an earlier fetch; going on.")
        try:
            self._bring()
            if resumed and not self._fits():
                say(f"{entry.name}: what the earlier fetch left does not fit; starting over.")
                part.restart("")
                self._bring()
        except KeyboardInterrupt:
            say(f"{entry.name}: stopped when {self._arrived()} were here{self._goes_on()}.")
            raise
        if not self._fits():
            found = part.sha256
            part.restart("")  # nothing can be done with gigabytes of something else
            raise UserError(
                f"{entry.url} has the SHA-256 {found}, not {self._wanted or f'one that begins with {entry.digits}'}, "
                f"and was deleted: if the publisher changed the file, fetch it by other means, judge it, and name its "
                f"path in place of '{entry.name}'."
            )
        part.finish(self._target)
        keep_note(Weights(self._target, part.sha256, verified=bool(self._wanted), published=entry))

    def _fits(self) -> bool:
        found = self._part.sha256
        return found == self._wanted if self._wanted else self._entry.check(found)

    def _bring(self) -> None:
        """Ask until the part has the file's size: as often as it grows, and then a few times more."""
        entry, part = self._entry, self._part
        most, vain = part.size, 0
        while part.size < entry.size:
            self._check_disk()
            reason = self._attempt()
            if part.size >= entry.size:
                return
            # A server that cannot resume begins again each time: that is no progress.
            vain = 0 if part.size > most else vain + 1
            most = max(most, part.size)
            if vain == _TRIES:
                raise UserError(
                    f"{entry.name} cannot be fetched from {urlsplit(entry.url).netloc} ({reason}): run it where there "
                    f"is network{self._goes_on()}; or copy the file to {self._target}."
                )
            wait = 2.0 ** max(vain - 1, 0)
            say(f"{entry.name}: {reason}; {self._arrived()} are here; trying again in {wait:.0f} s.")
            self._sleep(wait)

    def _attempt(self) -> str:
        """One request; returns why it did not bring all, and raises `UserError` where another would not either."""
        try:
            self._request()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in _PASSING:
                raise self._refused(error) from None
            if error.code == 416:
                self._part.restart("")
            return _status(error.code)
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise UserError(
                    f"{self._entry.url} is not trusted ({cause.verify_message}): where a proxy signs with a "
                    "certificate of its own, name that in SSL_CERT_FILE."
                ) from None
            return str(cause) or type(cause).__name__
        return "the connection ended early"

    def _request(self) -> None:
        """Ask for the rest, if the file is still the one that the part is of, else for all of it, and take it."""
        entry, part = self._entry, self._part
        headers = {"User-Agent": "fewframes", "Accept-Encoding": "identity"}
        if part.size and part.version:
            headers |= {"Range": f"bytes={part.size}-", "If-Range": part.version}
        with self._opened(urllib.request.Request(entry.url, headers=headers)) as response:  # noqa: S310 (`_HANDLERS`)
            start, size = _extent(response)
            if size not in (None, entry.size):
                raise UserError(
                    f"{entry.url} has {size} bytes, not {entry.size}: it is a proxy's page, or not the file that was "
                    f"published; fetch it by other means and put it at {self._target}, or name its path in place of "
                    f"'{entry.name}'."
                )
            if start != part.size or start == 0:
                if part.size:
                    say(f"{entry.name}: the server sends it from the beginning.")
                part.restart(_version(response))
                self._check_disk()
            if start == part.size:
                for _ in progress(self._take(response), f"{entry.name}, MiB", (entry.size - start) // _MIB):
                    pass

    def _opened(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=self._timeout)
        except (http.client.InvalidURL, ValueError):
            # Not in urllib's words: they show what stands where the port should, such as a password.
            raise UserError(
                "HTTP_PROXY or HTTPS_PROXY is no address of a proxy: write it as http://host:port, or "
                "http://user:password@host:port with special characters as %40 and the like."
            ) from None
        return response

    def _take(self, response: http.client.HTTPResponse) -> Iterator[None]:
        """Take what comes, as soon as it comes; yields once a MiB."""
        part = self._part
        told = part.size + _MIB
        while data := response.read1(_MIB):
            if part.size + len(data) > self._entry.size:
                raise http.client.HTTPException("the server sends more than the file has")
            part.append(data)
            while told <= part.size:
                told += _MIB
                yield
        if part.size < self._entry.size:
            raise http.client.HTTPException("the connection ended early")

    def _refused(self, error: urllib.error.HTTPError) -> UserError:
        entry = self._entry
        if error.code == 407:
            return UserError(f"The proxy lets nobody unknown to {entry.url}: put user and password into HTTPS_PROXY.")
        return UserError(
            f"{entry.url} is not to be had ({_status(error.code)}): get the file by other means and put it "
            f"at {self._target}, or name its path in place of '{entry.name}'."
        )

    def _check_disk(self) -> None:
        needed = self._entry.size - self._part.size
        free = shutil.disk_usage(self._target.parent).free
        if needed > free:
            raise UserError(
                f"{self._target} needs {needed / 1e6:.0f} MB more, and {free / 1e6:.0f} MB are free: free space, or "
                "choose another folder."
            )

    def _arrived(self) -> str:
        return f"{self._part.size // _MIB} of {self._entry.size // _MIB} MiB"

    def _goes_on(self) -> str:
        return "; the same command goes on from there" if self._part.kept and self._part.size else ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections within the web, but none from HTTPS to less."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request; raises `UserError` for one that is not to be made."""
        came, leads = urlsplit(req.full_url), urlsplit(newurl)
        if leads.scheme not in ("https", came.scheme):
            raise UserError(
                f"{came.scheme}://{came.netloc} sends us on to {leads.scheme}://{leads.hostname}, which is not "
                "followed: get the file by other means, judge it, and name its path instead."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _status(code: int) -> str:
    """An HTTP status in the standard's words: a server's own may hold anything, an address with its keys too."""
    return f"HTTP {code} {http.client.responses.get(code, '')}".strip()


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where in the file the body begins, and the whole file's size in bytes where the server says it."""
    if response.status == 206:
        # "bytes 100-199/200", RFC 9110 section 14.4.
        unit, _, extent = response.headers.get("Content-Range", "").partition(" ")
        span, _, size = extent.partition("/")
        start = span.partition("-")[0]
        if unit != "bytes" or not start.isdigit():
            raise http.client.HTTPException("the server's answer is not understood")
        return int(start), int(size) if size.isdigit() else None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _version(response: http.client.HTTPResponse) -> str:
    """What If-Range may name (RFC 9110 section 13.1.5): a strong ETag, else the date; "" where there is neither."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
