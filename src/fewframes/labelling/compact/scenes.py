"""Drawn clips: textured objects that move before a ground of several surfaces, seen by a moving camera.

Nothing in them is of any photograph, so that weights learned from them alone are nobody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fewframes.labelling.compact.shapes import outline
from fewframes.labelling.compact.textures import Pixels, noise, surface

PIECE = 16
"""Pixels of a piece's side."""
_SPRITE_PIECES = 64
"""Pieces that one object may have."""

Matrix = NDArray[np.float64]
"""An affine map of the plane, `float64 [3, 3]`."""


@dataclass(frozen=True)
class TrainingClip:
    """`frames` uint8 `[T, H, W, 3]`; `ids` uint8 `[T, H, W]`: 0 where nothing is known, else an object's number.

    `pieces` uint16 `[T, H, W]` tells where each small piece of every surface went, where that is known.
    """

    frames: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    pieces: NDArray[np.uint16]


@dataclass(frozen=True)
class _Sprite:
    """An object: `colour` uint8 `[s, s, 3]`, `alpha` uint8 `[s, s]`, and where it stands, in pixels of the frame.

    `depth` scales how much of the camera's motion it shows; `velocity` is in pixels, `spin` in radians and `growth`
    in natural logarithms, all by frame; `sway` bends it by so many of its own pixels.
    """

    colour: Pixels
    alpha: NDArray[np.uint8]
    place: NDArray[np.float64]
    size: float
    depth: float
    velocity: NDArray[np.float64]
    spin: float
    growth: float
    sway: float


def _similarity(scale: float, turn: float, move: NDArray[np.float64], centre: NDArray[np.float64]) -> Matrix:
    """Scaling and turning about `centre`, then moving."""
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[c, -s], [s, c]])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, centre + move - linear @ centre
    return matrix


def drawn_clip(
    rng: Generator,
    length: int,
    side: int,
    motion: float = 1.0,
    ground: tuple[Pixels, NDArray[np.uint8]] | None = None,
    smallest: float = 0.12,
) -> TrainingClip:
    """A clip of `length` frames of `side` x `side` pixels.

    `motion` scales how much moves between two frames; `smallest` is the share of the side that the smallest object's
    patch has.

    Before `ground`, where one is given, a picture and its ids twice as wide and high as the frames, move only a few
    objects; else the ground is drawn too.
    """
    most = 10 if ground is None else 4
    canvas, canvas_ids = ground or _ground(rng, 2 * side)
    sprites = [_sprite(rng, side, motion, smallest) for _ in range(int(rng.integers(most // 3, most)))]
    sprites.sort(key=lambda s: s.depth)
    number = int(canvas_ids.max())
    pan = rng.normal(0, 0.012 * side * motion, 2) * (1, 0.4)
    zoom, roll = rng.normal(0.006, 0.012) * motion, rng.normal(0, 0.006) * motion
    focus = side * rng.uniform(0.2, 0.8, 2)
    bend = rng.normal(0, 0.006 * side * motion, (4, 4, 2)).astype(np.float32)
    bend = np.asarray(cv2.resize(bend, (side, side), interpolation=cv2.INTER_CUBIC))
    y, x = np.mgrid[:side, :side].astype(np.float32)
    look = _Look.drawn(rng, side)
    # The annotated frame is where nothing has moved yet.
    frames, ids = np.empty((length, side, side, 3), np.uint8), np.empty((length, side, side), np.uint8)
    pieces = np.empty((length, side, side), np.uint16)
    for t in range(length):
        camera = _similarity(np.exp(zoom * t), roll * t, pan * t, focus)
        back = np.linalg.inv(camera)
        u = (back[0, 0] * x + back[0, 1] * y + back[0, 2] + t * bend[..., 0] + side / 2).astype(np.float32)
        v = (back[1, 0] * x + back[1, 1] * y + back[1, 2] + t * bend[..., 1] + side / 2).astype(np.float32)
        picture = np.asarray(cv2.remap(canvas, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)
        owners = np.asarray(cv2.remap(canvas_ids, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT), np.uint8)
        which = _pieces_of_ground(u, v)
        for n, sprite in enumerate(sprites, start=number + 1):
            near = _similarity(np.exp(zoom * t * sprite.depth), roll * t, pan * t * sprite.depth, focus)
            _stamp(picture, owners, which, n, sprite, near, t)
        frames[t], ids[t], pieces[t] = look.seen(picture, t, rng), owners, which
    return TrainingClip(frames, ids, pieces)


def _pieces_of_ground(u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The piece of the ground that each pixel shows, from where on the ground it looks."""
    return ((v.astype(np.int32) // PIECE & 63) * 64 + (u.astype(np.int32) // PIECE & 63) + 1).astype(np.uint16)


def _ground(rng: Generator, side: int) -> tuple[Pixels, NDArray[np.uint8]]:
    """Surfaces side by side, and the number of each pixel's; parts of a texture are drawn at half size for speed."""
    picture, ids = surface(rng, side, side), np.ones((side, side), np.uint8)
    for number in range(2, int(rng.integers(2, 7))):
        if rng.random() < 0.5:  # a band, as sky, houses and road lie above each other
            edge = side * rng.uniform(0.3, 0.7) + side * rng.uniform(0.0, 0.3) * (noise(rng, side, 3, 0.5)[0] - 0.5)
            slope = rng.normal(0, 0.25) * (np.arange(side) - side / 2)
            rows = np.arange(side)[:, None]
            region = rows > (edge + slope)[None] if rng.random() < 0.5 else rows < (edge + slope)[None]
        else:
            region = noise(rng, side, rng.uniform(2, 6), rng.uniform(0.3, 0.7)) > rng.uniform(0.55, 0.8)
        mask = region.astype(np.uint8)
        cv2.copyTo(surface(rng, side, side), mask, picture)
        ids[region] = number
    return picture, ids


def _sprite(rng: Generator, side: int, motion: float, smallest: float) -> _Sprite:
    patch = int(rng.choice([64, 96, 144]))
    parts = outline(rng, patch)
    colour, alpha = surface(rng, patch, patch), parts[0].copy()
    for part in parts[1:]:
        cv2.copyTo(surface(rng, patch, patch), (part > 127).view(np.uint8), colour)
        alpha = np.maximum(alpha, part)
    size = side * np.exp(rng.uniform(np.log(smallest), np.log(0.7)))
    mirrored = rng.random() < 0.5
    return _Sprite(
        colour[:, ::-1].copy() if mirrored else colour,
        alpha[:, ::-1].copy() if mirrored else alpha,
        side * rng.uniform(0.05, 0.95, 2),
        size / patch,
        rng.uniform(1.0, 3.0),
        rng.normal(0, 0.018 * side * motion, 2) * (1, 0.5),
        rng.normal(0, 0.02) * motion,
        rng.normal(0, 0.015) * motion,
        rng.choice([0.0, rng.uniform(0.02, 0.06)]) * patch * motion,
    )


def _stamp(
    picture: Pixels,
    owners: NDArray[np.uint8],
    pieces: NDArray[np.uint16],
    number: int,
    s: _Sprite,
    camera: Matrix,
    t: int,
) -> None:
    """Draw a sprite as it stands at time `t` into the picture, the owners and the pieces."""
    patch, side = s.alpha.shape[0], picture.shape[0]
    middle = np.full(2, patch / 2)
    own = _similarity(s.size * np.exp(s.growth * t), s.spin * t, s.place + s.velocity * t - middle, middle)
    matrix = camera @ own
    corners = matrix @ np.array([[0, patch, patch, 0], [0, 0, patch, patch], [1, 1, 1, 1]])
    left, top = (max(0, int(np.floor(low))) for low in corners[:2].min(1))
    right, bottom = (min(side, int(np.ceil(high)) + 1) for high in corners[:2].max(1))
    if right - left < 2 or bottom - top < 2:
        return
    colour, alpha = s.colour, s.alpha
    if s.sway:
        y, x = np.mgrid[:patch, :patch].astype(np.float32)
        x += np.float32(s.sway * np.sin(0.7 * t)) * np.sin(y / patch * 4).astype(np.float32)
        colour = np.asarray(cv2.remap(colour, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)
        alpha = np.asarray(cv2.remap(alpha, x, y, cv2.INTER_LINEAR), np.uint8)
    matrix = matrix[:2].copy()
    matrix[:, 2] -= (left, top)
    box = (right - left, bottom - top)
    shown = cv2.warpAffine(colour, matrix, box, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    cover = np.asarray(cv2.warpAffine(alpha, matrix, box, flags=cv2.INTER_LINEAR), np.uint8)
    under = picture[top:bottom, left:right]
    share = cover[..., None].astype(np.float32) / 255
    under[:] = (under + (np.asarray(shown, np.float32) - under) * share).astype(np.uint8)
    hides = cover > 127
    owners[top:bottom, left:right][hides] = number
    # Eight pieces across, however large the object is drawn.
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    y, x = np.mgrid[: box[1], : box[0]]
    across, down = (np.clip((row[0] * x + row[1] * y + row[2]) / patch * 8, 0, 7).astype(np.uint16) for row in back[:2])
    own = np.uint16(64 * 64 + 1 + number * _SPRITE_PIECES) + down * np.uint16(8) + across
    pieces[top:bottom, left:right][hides] = own[hides]


@dataclass(frozen=True)
class _Look:
    """The camera's: softness, noise, light."""

    blur: float
    grain: float
    gain: NDArray[np.float32]
    flicker: float
    haze: NDArray[np.float32]

    @classmethod
    def drawn(cls, rng: Generator, side: int) -> _Look:
        """Any of them; haze thickens towards one edge, `float32 [side, 1, 3]`."""
        thick = np.linspace(rng.uniform(0, 0.5), 0, side, dtype=np.float32)[:, None, None] * (rng.random() < 0.4)
        return cls(
            float(rng.choice([0.0, rng.uniform(0.4, 1.3)])),
            float(rng.uniform(0, 7)),
            (rng.uniform(0.6, 1.25) * rng.uniform(0.92, 1.08, 3)).astype(np.float32),
            float(rng.uniform(0, 0.03)),
            thick,
        )

    def seen(self, picture: Pixels, t: int, rng: Generator) -> Pixels:
        """The picture as the camera takes it."""
        soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), self.blur) if self.blur else picture, np.float32)
        soft = soft * (1 - self.haze) + 215 * self.haze
        soft *= self.gain * (1 + self.flicker * np.sin(1.7 * t))
        soft += rng.standard_normal(soft.shape[:2], np.float32)[..., None] * self.grain
        return np.clip(soft, 0, 255).astype(np.uint8)
