"""Whether a file is a whole image, told from its first and last bytes; and what its header says of its pixels."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.core.images import MAX_PIXELS, image_mode, image_size

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_SIGNATURES = (_PNG, _JPEG)
_HEAD = 1024
"""Bytes that nearly always hold all of a PNG's chunks before its pixels."""
_TAIL = 4096
"""Where the end mark must be: some writers append a little to their files."""
_GREY, _PALETTE = 0, 3
"""PNG's colour types of one value a pixel (the PNG specification, 11.2.2)."""
_SENSELESS = "its header makes no sense"
_BEGINNING = 16
"""Characters or bytes of what is no image that are shown."""
_CHANNELS = {_GREY: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}


class FlawError(Exception):
    """What is wrong with a file: `kind` is a key of `fewframes.doctor.files.KINDS`, `detail` its particulars."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Header:
    """What a file says of its pixels: sides, bits and values a pixel, and whether the values index a palette."""

    height: int
    width: int
    bits: int = 8
    channels: int = 3
    palette: bool = False
    png: bool = False

    @property
    def sides(self) -> str:
        """Width and height, as `2048x1024`."""
        return f"{self.width}x{self.height}"


def inspect(path: Path) -> Header:
    """Look at an image's head and tail; raises `FlawError` where it is absent, cut short, animated or far too large."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise FlawError("empty")
            head = file.read(_HEAD) or b""
            file.seek(max(0, size - _TAIL))
            tail = file.read(_TAIL) or b""
            if head.startswith(_PNG):
                header = _png(file, head, tail)
            elif head.startswith(_JPEG):
                header = _jpeg(file, tail)
            elif any(signature.startswith(head) for signature in _SIGNATURES):
                raise FlawError("short")
            else:
                header = _other(path, head)
    except OSError as error:
        raise absent(path, error) from None
    if header.height * header.width > MAX_PIXELS:
        raise FlawError("huge", header.sides)
    return header


def absent(path: Path, error: OSError) -> FlawError:
    """Why a file cannot be opened."""
    if path.is_symlink() and not path.exists():
        return FlawError("dead", f"leads to {path.readlink()}")
    if isinstance(error, FileNotFoundError):
        return FlawError("absent")
    return FlawError("unreadable", error.strerror or str(error))


def whole(path: Path) -> bytes:
    """All bytes of a file; of a PNG, every chunk is held against its checksum. Raises `FlawError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise absent(path, error) from None
    if data.startswith(_PNG):
        place = len(_PNG)
        while True:
            if place + 12 > len(data):
                raise FlawError("short")
            (length,) = struct.unpack_from(">I", data, place)
            end = place + 12 + length
            if end > len(data):
                raise FlawError("short")
            if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
                raise FlawError("damaged", "its checksum is wrong")
            if data[place + 4 : place + 8] == b"IEND":
                break
            place = end
    return data


def _png(file: io.FileIO, head: bytes, tail: bytes) -> Header:
    if len(head) < 33 or head[12:16] != b"IHDR":
        raise FlawError("short")
    width, height, bits, colour = struct.unpack_from(">IIBB", head, 16)
    if not tail.endswith(_PNG_END) and _PNG_END not in tail:
        raise FlawError("short")
    if colour not in _CHANNELS or not width or not height:
        raise FlawError("damaged", _SENSELESS)
    if _animated(file, head):
        raise FlawError("animated")
    return Header(height, width, bits, _CHANNELS[colour], colour == _PALETTE, png=True)


def _animated(file: io.FileIO, head: bytes) -> bool:
    """Whether a chunk acTL of several pictures stands before the pixels, where it must (the specification, 5.6)."""
    place = len(_PNG)
    while True:
        chunk = head[place : place + 12]
        if len(chunk) < 12:
            file.seek(place)
            chunk = file.read(12) or b""
        if len(chunk) < 12 or chunk[4:8] in (b"IDAT", b"IEND"):
            return False
        length, name, number = struct.unpack(">I4sI", chunk)
        if name == b"acTL":
            return number > 1
        place += 12 + length


def _jpeg(file: io.FileIO, tail: bytes) -> Header:
    if _JPEG_END not in tail:
        raise FlawError("short")
    place = 2
    while True:
        file.seek(place)
        mark = file.read(10) or b""
        if len(mark) < 10 or mark[0] != 0xFF:
            raise FlawError("damaged", _SENSELESS)
        _, kind, length, bits, height, width, channels = struct.unpack(">BBHBHHB", mark)
        # Start of frame, of any coding: all of 0xC0 to 0xCF but three (ITU-T T.81, table B.1).
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return Header(height, width, bits, channels)
        place += 1 if kind == 0xFF else 2 + length  # 0xFF may be repeated before a mark


def _other(path: Path, head: bytes) -> Header:
    try:
        height, width = image_size(path)
        mode = image_mode(path)
    except UserError:
        raise FlawError("foreign", f"begins with {_beginning(head)}") from None
    return Header(height, width, 16 if mode.startswith("I") else 8, 1 if mode in ("L", "P") else 3, mode == "P")


def _beginning(head: bytes) -> str:
    """How a file begins, as text where it is some: an error page in an image's place."""
    if not head.strip(b"\0"):
        return "zero bytes"
    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")[:_BEGINNING]
    line = text.partition("\n")[0].rstrip()
    return f"'{line}'" if line.isprintable() and line else f"the bytes {head[:_BEGINNING].hex(' ')}"
