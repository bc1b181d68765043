"""Choosing clips: the order in which a draw takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def drawn_order(draw: int, ids: Iterable[str]) -> list[str]:
    """The ids in the order a draw takes them: by a hash of draw and id.

    Taking the first n nests every smaller choice of the draw in the larger ones, and a new clip displaces at
    most one other.
    """

    def keyed(clip_id: str) -> bytes:
        return hashlib.blake2b(clip_id.encode(), key=f"draw {draw}".encode(), digest_size=16).digest()

    return sorted(ids, key=keyed)
