"""Text that people get to see: messages, logs and reports hold no credentials, and no name steers a terminal."""

from __future__ import annotations

import re

_USER = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]+:/{1,2})[^\s/?#]*@")
"""User and password of a URL (RFC 3986, section 3.2.1), which has one slash left where it was taken for a path."""
_QUERY = re.compile(r"(https?:/{1,2}[^\s?#'\"]*\?)[^\s'\"]+")
"""A URL's query: where signed addresses and many services have their keys."""


def without_credentials(text: str) -> str:
    """The text with `***` for what stands in a URL before the host, and for its query."""
    if ":/" not in text:
        return text
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))


def one_line(text: str) -> str:
    """The text without credentials, and with an escape (`\\x1b`, `\\n`) for whatever is no visible character.

    Names of files may hold line ends, which would forge a line of a log, and what a terminal obeys.
    """
    seen = without_credentials(text)
    if seen.isprintable():
        return seen
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in seen)
