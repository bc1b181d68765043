"""Surfaces of toy city: pictures that stick to walls, ground and sky, with smaller copies for distance."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]


class Texture:
    """An RGB picture that covers `metres` (across, up) of a surface and repeats beyond."""

    def __init__(self, pixels: Pixels, metres: tuple[float, float]) -> None:
        self.pixels = pixels
        self.metres = metres

    @cached_property
    def levels(self) -> list[Pixels]:
        """The picture and its halvings, so that a far surface neither flickers nor aliases."""
        levels = [self.pixels]
        while min(levels[-1].shape[:2]) > 3:
            h, w = levels[-1].shape[:2]
            levels.append(np.asarray(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA), np.uint8))
        return levels


def tinted(colour: Colour, gain: float) -> Colour:
    """The colour times a gain, kept within 1..255 (0 marks 'nothing drawn' in a figure's patch)."""
    r, g, b = (int(min(255, max(1, c * gain))) for c in colour)
    return r, g, b


def grain(rng: Generator, height: int, width: int, cells: int = 12) -> NDArray[np.float32]:
    """Noise of unit scale with fine and coarse parts, `float32 [height, width]`; its edges match."""
    fine = rng.standard_normal((height, width), np.float32)
    coarse = rng.standard_normal((max(2, height // cells), max(2, width // cells)), np.float32)
    coarse = np.pad(coarse, ((0, 1), (0, 1)), mode="wrap")
    size = (width + width // (coarse.shape[1] - 1), height + height // (coarse.shape[0] - 1))
    smooth = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))[:height, :width]
    fine *= 0.6
    fine += smooth
    return fine


def _plain(rng: Generator, h: int, w: int, colour: Colour, rough: float, cells: int = 12) -> Pixels:
    light = 1 + rough * grain(rng, h, w, cells)
    return np.dstack([np.clip(c * light, 1, 255).astype(np.uint8) for c in colour])


def _bricks(picture: Pixels, ppm: float, rows_per_metre: float, gain: float) -> None:
    """Courses of bricks, joints drawn in place."""
    h, w = picture.shape[:2]
    step = ppm / rows_per_metre
    joints = np.zeros((h, w), bool)
    for row in range(int(h / step) + 1):
        y = int(row * step)
        joints[y : y + 1] = True
        for x in np.arange((row % 2) * step, w, 2 * step):
            joints[y : int(y + step), int(x) : int(x) + 1] = True
    picture[joints] = np.clip(picture[joints] * gain, 1, 255).astype(np.uint8)


def facade(rng: Generator, style: str, colour: Colour, bays: int, floors: int, bay: float, ppm: float) -> Texture:
    """A house front of `bays` windows across and `floors` floors of 3.1 m; `style` sets its manner."""
    width, height = bays * bay, floors * 3.1 + 0.7
    w, h = round(width * ppm), round(height * ppm)
    wall = _plain(rng, h, w, colour, 0.05)
    if style == "brick":
        _bricks(wall, ppm, 4.0, 0.78)

    def rect(x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        # Coordinates in metres from the bottom left; the picture's rows go down.
        a = (round(x0 * ppm), round(h - y1 * ppm))
        b = (max(round(x1 * ppm) - 1, a[0]), max(round(h - y0 * ppm) - 1, a[1]))
        cv2.rectangle(wall, a, b, fill, -1)

    frame: Colour = (232, 230, 222) if style != "modern" else (70, 74, 80)
    trim = tinted(colour, 1.25 if sum(colour) < 480 else 0.72)
    shops = style != "modern" and rng.random() < 0.5
    for floor in range(floors):
        y = floor * 3.1
        if style in ("plaster", "brick") and floor:
            rect(0, y - 0.1, width, y + 0.08, trim)
        for i in range(bays):
            x = i * bay
            glass = tinted((96, 116, 136), 0.45 + 0.75 * rng.random())
            if floor == 0 and shops:
                rect(x + 0.15, 0.4, x + bay - 0.15, 2.3, glass)
                r, g, b = rng.integers(60, 230, 3).tolist()
                rect(x + 0.15, 2.35, x + bay - 0.15, 2.85, (r, g, b))
            elif floor == 0 and i == bays // 2:
                rect(x + 0.3 * bay, 0, x + 0.7 * bay, 2.3, tinted((92, 60, 40), 0.7 + 0.6 * rng.random()))
                rect(x + 0.35 * bay, 1.6, x + 0.65 * bay, 2.1, glass)
            elif style == "modern":
                rect(x + 0.08, y + 0.9, x + bay - 0.08, y + 2.7, frame)
                rect(x + 0.18, y + 1.0, x + bay - 0.18, y + 2.6, glass)
            else:
                a, b = x + 0.26 * bay, x + 0.74 * bay
                rect(a - 0.1, y + 0.85, b + 0.1, y + 2.6, frame)
                rect(a, y + 1.0, b, y + 2.5, glass)
                rect((a + b) / 2 - 0.05, y + 1.0, (a + b) / 2 + 0.05, y + 2.5, frame)
                rect(a - 0.2, y + 0.75, b + 0.2, y + 0.9, trim)
    rect(0, height - 0.4, width, height, tinted(colour, 0.6))
    return Texture(wall, (width, height))


def patterned(rng: Generator, kind: str, colour: Colour, ppm: float) -> Texture:
    """A repeating surface: `brick`, `concrete`, `planks`, `bars`, `leaves`, `grass`, `slabs`, `cobbles` or `tiles`."""
    metres = (6.0, 2.0) if kind in ("brick", "concrete", "planks", "bars") else (8.0, 8.0)
    w, h = round(metres[0] * ppm), round(metres[1] * ppm)
    rough = {"leaves": 0.22, "grass": 0.13, "bars": 0.18}.get(kind, 0.06)
    picture = _plain(rng, h, w, colour, rough, cells=max(3, round(ppm * (0.35 if kind == "leaves" else 0.8))))
    dark, light = tinted(colour, 0.66), tinted(colour, 1.22)
    thin = max(1, round(ppm * 0.05))
    if kind in ("brick", "cobbles", "tiles"):
        _bricks(picture, ppm, {"brick": 5.0, "cobbles": 4.0, "tiles": 3.0}[kind], 0.72)
    if kind == "concrete":
        for x in (0.0, 2.0, 4.0):
            cv2.line(picture, (round(x * ppm), 0), (round(x * ppm), h), dark, thin)
    if kind == "slabs":
        for m in np.arange(0, 8, 1.0):
            cv2.line(picture, (round(m * ppm), 0), (round(m * ppm), h), dark, thin)
            cv2.line(picture, (0, round(m * ppm)), (w, round(m * ppm)), dark, thin)
    if kind == "planks":
        for m in np.arange(0, 6, 0.3):
            cv2.line(picture, (round(m * ppm), 0), (round(m * ppm), h), dark, thin)
    if kind == "bars":
        for m in np.arange(0, 6, 0.25):
            cv2.line(picture, (round(m * ppm), 0), (round(m * ppm), h), (48, 52, 54), thin + 1)
    if kind in ("brick", "concrete", "planks", "bars"):
        cap = light if kind != "bars" else (40, 44, 46)
        cv2.rectangle(picture, (0, 0), (w, max(1, round(0.12 * ppm))), cap, -1)
    if kind in ("planks", "bars"):
        for m in (0.5, 1.6):
            cv2.line(picture, (0, round(m * ppm)), (w, round(m * ppm)), dark, thin + 1)
    return Texture(picture, metres)


def road(
    rng: Generator, colour: Colour, left: float, right: float, lines: list[float], rails: float | None, ppm: float
) -> Texture:
    """Asphalt from `left` to `right` in metres, with solid edges, dashed `lines` and a track around `rails`.

    Repeats every 24 m: longer than anything that optical flow could mistake for motion.
    """
    metres = (right - left, 24.0)
    w, h = round(metres[0] * ppm), round(metres[1] * ppm)
    picture = _plain(rng, h, w, colour, 0.07, cells=round(ppm))

    def stripe(x: float, y0: float, y1: float, half: float, fill: Colour) -> None:
        a = (round((x - half - left) * ppm), round(y0 * ppm))
        b = (max(a[0], round((x + half - left) * ppm) - 1), round(y1 * ppm) - 1)
        cv2.rectangle(picture, a, b, fill, -1)

    for _ in range(7):  # patches of newer and older asphalt, and manholes
        x, y = rng.uniform(left, right - 1), rng.uniform(0, 21)
        stripe(x, y, y + rng.uniform(0.8, 3), rng.uniform(0.3, 0.9), tinted(colour, rng.choice([0.8, 0.88, 1.1])))
    for _ in range(2):
        centre = (int(rng.uniform(0.2, 0.8) * w), int(rng.uniform(0.1, 0.9) * h))
        cv2.circle(picture, centre, max(1, round(0.32 * ppm)), tinted(colour, 0.55), -1)
    if rails is not None:
        for x in (rails - 0.72, rails + 0.72):  # 1.435 m apart
            stripe(x, 0, 24, 0.14, tinted(colour, 0.7))
            stripe(x, 0, 24, 0.05, (168, 164, 160))
    white: Colour = (206, 206, 200)
    for x in lines:
        for y in (0.0, 8.0, 16.0):
            stripe(x, y, y + 3.5, 0.08, white)
    for x in (left + 0.2, right - 0.2):
        stripe(x, 0, 24, 0.07, tinted(colour, 1.35))
    return Texture(picture, metres)


def zebra(rng: Generator, colour: Colour, width: float, ppm: float) -> Texture:
    """A crossing over a road `width` metres wide, 3 m deep."""
    w, h = round(width * ppm), round(3 * ppm)
    picture = _plain(rng, h, w, colour, 0.06)
    for x in np.arange(0.3, width - 0.3, 1.0):
        picture[:, round(x * ppm) : round((x + 0.5) * ppm)] = _plain(rng, h, 1, (204, 204, 198), 0.04)
    return Texture(picture, (width, 3.0))


def sky(rng: Generator, top: Colour, low: Colour, clouds: float, height: int, width: int) -> Pixels:
    """A panorama `uint8 [height, width, 3]`: blue above, pale at the horizon, `clouds` 0..1 of it covered."""
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 1.3
    picture = np.array(top, np.float32) * (1 - down) + np.array(low, np.float32) * down
    picture = np.repeat(picture, width, axis=1)
    cover = np.zeros((height, width), np.float32)
    for rows, weight in ((4, 1.0), (8, 0.55), (16, 0.3), (32, 0.15)):
        noise = rng.standard_normal((rows, rows * 3), np.float32)
        cover += weight * np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
    cover = np.clip((cover - 1.3 + 2.3 * clouds) * 0.9, 0, 1)[..., None] * (0.9 - 0.35 * down)
    white = np.array(low, np.float32) * 0.35 + np.array((250, 250, 250), np.float32) * 0.65
    return np.clip(picture * (1 - cover) + white * cover, 1, 255).astype(np.uint8)
