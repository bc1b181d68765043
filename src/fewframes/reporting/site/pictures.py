"""The report's pictures: figures with their captions, held by the page itself."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from jinja2 import Environment, StrictUndefined
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.reporting.site.tabular import Link

_WHOLE = 300_000
"""Bytes up to which a picture is held as it is: plots are. Sheets of photographs have megabytes."""

_WIDTH = 1600
"""Pixels across a picture that is held smaller than it is: the page's width on a screen of two pixels a point."""

_QUALITY = 85
"""Of such a picture as JPEG."""

_TITLE = re.compile(r"^\.\. title:(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Picture:
    """A figure: its file's content as a data URI, its size in pixels, its words, and the files themselves."""

    name: str
    title: str
    src: str
    width: int
    height: int
    caption: Sequence[str]
    links: Sequence[Link]

    @property
    def alt(self) -> str:
        """What it shows, for who cannot see it."""
        first = self.caption[0].partition(": ")[0].partition(". ")[0].rstrip(".") if self.caption else ""
        return f"{self.title}: {first}" if first else self.title


def picture(path: Path, results: Path, captions: Path) -> Picture:
    """The picture of a figure (PNG) below `results`, with its caption from the folder of `captions`.

    Raises `UserError` where it cannot be read.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            width, height = image.size
            kind = "png"
            if len(content) > _WHOLE:
                content, kind = _smaller(image), "jpeg"
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}): make it again with `snakemake`.") from error
    data = base64.b64encode(content).decode("ascii")
    title, caption = caption_of(path.stem, captions)
    links = [
        link(file, results, file.suffix[1:].upper()) for file in (path, path.with_suffix(".pdf")) if file.is_file()
    ]
    src = f"data:image/{kind};base64,{data}"
    return Picture(path.stem, title or titled(path.stem), src, width, height, caption, links)


def link(path: Path, results: Path, name: str) -> Link:
    """A file below `results`, where the report lies."""
    return Link(name, path.relative_to(results).as_posix())


def titled(name: str) -> str:
    """A file's name as a heading: `figure4` is Figure 4."""
    return re.sub(r"(?<=[a-z])(?=\d)", " ", name).replace("-", " ").replace("_", " ").capitalize()


def caption_of(name: str, captions: Path) -> tuple[str, list[str]]:
    """A figure's title and the paragraphs of its caption, as far as there are any, from what Snakemake's report shows.

    It is `<name>.rst`, or `figure.rst`: templates that may ask for the wildcards by which rules tell figures apart.
    The title is a comment, `.. title: …`.
    """
    path = next((p for p in (captions / f"{name}.rst", captions / "figure.rst") if p.is_file()), None)
    if path is None:
        return "", []
    template = Environment(undefined=StrictUndefined).from_string(path.read_text(encoding="utf-8"))
    wildcards = SimpleNamespace(figure=name)
    text = template.render(snakemake=SimpleNamespace(wildcards=wildcards))
    title = _TITLE.search(text)
    paragraphs = re.split(r"\n\s*\n", _TITLE.sub("", text))
    return title[1].strip() if title else "", [" ".join(p.split()) for p in paragraphs if p.strip()]


def _smaller(image: Image.Image) -> bytes:
    packed = io.BytesIO()
    size = (_WIDTH, round(image.height * _WIDTH / image.width)) if image.width > _WIDTH else image.size
    image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(packed, "JPEG", quality=_QUALITY)
    return packed.getvalue()
