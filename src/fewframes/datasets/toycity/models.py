"""What stands and moves in toy city's street: vehicles, people, trees and street furniture.

Each is a figure at its own origin, facing +z: x to the right, y up, z ahead, in metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from fewframes.datasets.toycity.objects import Model
from fewframes.datasets.toycity.textures import Colour, tinted

T = TypeVar("T")
GLASS: Colour = (52, 62, 74)
DARK: Colour = (30, 31, 34)
CAR_COLOURS: tuple[Colour, ...] = (
    (206, 208, 210), (40, 42, 46), (120, 124, 130), (150, 28, 30), (34, 62, 122), (228, 228, 224),
    (70, 84, 78), (176, 150, 104), (60, 104, 150), (92, 22, 40),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = (
    (36, 40, 58), (150, 40, 44), (60, 92, 66), (196, 188, 170), (92, 74, 60), (52, 88, 140), (208, 150, 54),
    (28, 28, 30), (130, 96, 140), (220, 220, 216),
)  # fmt: skip
TRAM_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((232, 226, 206), (160, 30, 34)), ((60, 130, 90), (228, 224, 204)), ((222, 224, 226), (40, 80, 150)),
)  # fmt: skip
SKIN: tuple[Colour, ...] = ((226, 184, 156), (190, 140, 108), (120, 82, 60))


def _pick(rng: Generator, among: Sequence[T]) -> T:
    return among[int(rng.integers(len(among)))]


def car(rng: Generator) -> Model:
    """Saloon, hatchback or van, 4.2 m long."""
    m, colour, kind = Model("car"), _pick(rng, CAR_COLOURS), int(rng.integers(3))
    belt, roof = (0.92, 1.46) if kind < 2 else (1.05, 1.85)
    nose = 1.0 if kind < 2 else 1.5
    body = [(-2.1, 0.3), (-2.1, belt - 0.05), (-1.9, belt), (nose, belt), (2.0, 0.74), (2.1, 0.6), (2.1, 0.3)]
    m.prism(body, 0.86, colour)
    m.sides([(-2.0, 0.3), (2.0, 0.3), (2.0, 0.4), (-2.0, 0.4)], 0.865, DARK)
    m.sides([(-0.05, 0.42), (0.0, 0.42), (0.0, belt - 0.04), (-0.05, belt - 0.04)], 0.865, tinted(colour, 0.6))
    m.wheels(0.87, (-1.3, 1.3), 0.33)
    for x in (-0.8, 0.5):
        m.end(x, 0.62, x + 0.3, 0.84, -2.11, (196, 26, 24))
        m.end(x, 0.52, x + 0.3, 0.66, 2.11, (246, 244, 226))
    for z in (-2.11, 2.11):
        m.end(-0.86, 0.3, 0.86, 0.42, z, DARK)
        m.end(-0.26, 0.44, 0.26, 0.56, z, (222, 222, 214))
    back = (-1.15, -1.9, -1.9)[kind]
    low, high = [(-1.9 + 0.02, belt), (nose - 0.1, belt)], [(nose - 0.85, roof), (back, roof)]
    m.prism(low + high, 0.84, colour, top=0.66)
    inset = np.array(low + high)
    middle = inset.mean(0)
    glass = [(float(z), float(y)) for z, y in middle + (inset - middle) * 0.84]
    for side in (-1.0, 1.0):  # side windows lean with the cabin
        lean = [(side * (0.845 - 0.18 * (y - belt) / (roof - belt)), y, z) for z, y in glass]
        m.face(lean, GLASS, (side, 0.1, 0))
        low_x, high_x = side * 0.85, side * 0.67
        post = [(low_x, belt, -0.5), (low_x, belt, -0.42), (high_x, roof, -0.42), (high_x, roof, -0.5)]
        m.face(post, tinted(colour, 0.8), (side, 0.1, 0))
    for (z0, y0), (z1, y1), out in ((low[0], high[1], -1.0), (low[1], high[0], 1.0)):
        za, zb = z0 + 0.12 * (z1 - z0) + 0.01 * out, z0 + 0.88 * (z1 - z0) + 0.01 * out
        ya, yb = y0 + 0.12 * (y1 - y0), y0 + 0.88 * (y1 - y0)
        m.face([(-0.74, ya, za), (0.74, ya, za), (0.62, yb, zb), (-0.62, yb, zb)], GLASS, (0, 0.5, out))
    return m


def autorickshaw(rng: Generator) -> Model:
    """Three wheels, a yellow hood over a green body (IDD only)."""
    m = Model("autorickshaw")
    m.prism([(-1.2, 0.25), (-1.2, 0.95), (0.7, 0.95), (1.2, 0.6), (1.2, 0.25)], 0.62, (38, 110, 62))
    m.wheels(0.63, (-0.8,), 0.24)
    m.line([(0, 0.1, 1.1), (0, 0.35, 1.1)], DARK, 0.16)
    yellow = tinted((224, 182, 42), rng.uniform(0.85, 1.1))
    m.prism([(-1.15, 0.95), (0.75, 0.95), (0.6, 1.7), (-1.0, 1.7)], 0.6, yellow, top=0.5)
    m.sides([(-0.6, 1.0), (0.5, 1.0), (0.4, 1.5), (-0.5, 1.5)], 0.605, DARK)
    m.end(-0.5, 1.02, 0.5, 1.5, 0.76, GLASS)
    m.end(-0.4, 1.1, 0.4, 1.45, -1.16, GLASS)
    return m


def _coach(m: Model, z0: float, z1: float, half: float, low: float, high: float, paint: tuple[Colour, Colour]) -> None:
    """A box with a band of windows and a stripe: one section of a bus or a tram."""
    m.prism([(z0, low), (z0, high), (z1, high), (z1, low)], half, paint[0])
    m.sides([(z0, low), (z1, low), (z1, low + 0.55), (z0, low + 0.55)], half + 0.005, paint[1])
    bottom, top = 1.35, high - 0.55
    for a, b in pairwise(np.linspace(z0 + 0.15, z1 - 0.15, round((z1 - z0) / 1.5) + 1)):
        m.sides([(a + 0.06, bottom), (b - 0.06, bottom), (b - 0.06, top), (a + 0.06, top)], half + 0.005, GLASS)


def bus(rng: Generator) -> Model:
    """A city bus, 10 m."""
    m, colour = Model("bus"), _pick(rng, ((226, 190, 40), (196, 40, 42), (222, 222, 218), (52, 116, 168)))
    _coach(m, -5.0, 5.0, 1.25, 0.35, 3.05, (colour, tinted(colour, 0.7)))
    m.wheels(1.26, (-3.0, 3.2), 0.5)
    for z, lamp in ((-5.01, (200, 30, 26)), (5.01, (250, 246, 226))):
        m.end(-1.1, 1.3 if z > 0 else 1.7, 1.1, 2.5, z, GLASS)
        m.end(-1.25, 0.35, 1.25, 0.6, z, DARK)
        m.end(-0.8, 2.62, 0.8, 2.92, z, (40, 36, 20))
        m.end(-0.6, 2.68, 0.5, 2.86, z, (250, 176, 40))
        for x in (-1.15, 0.85):
            m.end(x, 0.7, x + 0.3, 0.95, z, lamp)
    return m


def truck(rng: Generator) -> Model:
    """A cab and a box, 7.5 m."""
    m, cab, mark = Model("truck"), _pick(rng, CAR_COLOURS), _pick(rng, CLOTHES)
    box = _pick(rng, ((214, 212, 204), (90, 110, 84), (170, 120, 60), (150, 160, 172)))
    m.prism([(1.9, 0.45), (1.9, 2.6), (3.3, 2.6), (3.75, 1.7), (3.75, 0.45)], 1.15, cab)
    m.sides([(2.3, 1.55), (3.5, 1.55), (3.2, 2.35), (2.3, 2.35)], 1.155, GLASS)
    m.wheels(1.16, (2.8,), 0.48)
    m.face([(-1, 1.72, 3.75), (1, 1.72, 3.75), (1, 2.5, 3.37), (-1, 2.5, 3.37)], GLASS, (0, 0.4, 1))
    m.end(-1.15, 0.45, 1.15, 0.85, 3.76, DARK)
    for x in (-1.05, 0.75):
        m.end(x, 0.9, x + 0.3, 1.15, 3.76, (250, 246, 226))
    m.group = 1
    m.prism([(-3.75, 0.95), (-3.75, 3.4), (1.8, 3.4), (1.8, 0.95)], 1.25, box)
    m.sides([(-2.9, 1.7), (0.9, 1.7), (0.5, 2.6), (-2.9, 2.6)], 1.255, mark)
    m.sides([(-3.75, 0.6), (1.8, 0.6), (1.8, 0.95), (-3.75, 0.95)], 1.15, DARK)
    m.end(-1.2, 0.55, 1.2, 0.95, -3.76, DARK)
    m.end(-0.02, 1.0, 0.02, 3.35, -3.76, tinted(box, 0.55))
    m.end(-0.9, 1.9, 0.9, 2.5, -3.765, mark)
    for x in (-1.15, 0.85):
        m.end(x, 0.65, x + 0.3, 0.85, -3.77, (200, 30, 26))
    m.wheels(1.2, (-2.6, -1.5), 0.48)
    return m


def tram(rng: Generator) -> Model:
    """Three sections, 21 m, on rails."""
    m = Model("train")
    paint = _pick(rng, TRAM_COLOURS)
    for i, z in enumerate((-10.4, -3.4, 3.6)):
        m.group = i
        _coach(m, z, z + 6.8, 1.2, 0.3, 3.3, paint)
        m.prism([(z + 2, 3.3), (z + 2, 3.6), (z + 5, 3.6), (z + 5, 3.3)], 0.8, (90, 92, 96))
    for z, group in ((-10.41, 0), (10.41, 2)):
        m.group = group
        m.end(-1.2, 0.3, 1.2, 1.2, z, paint[1])
        m.end(-1.05, 1.4, 1.05, 2.6, z, GLASS)
        m.end(-0.7, 2.72, 0.7, 3.02, z, (250, 176, 40))
        for x in (-1.05, 0.75):
            m.end(x, 0.7, x + 0.3, 0.95, z, (250, 246, 226) if z > 0 else (200, 30, 26))
    return m


def person(rng: Generator) -> Model:
    """Someone on foot, 1.5 to 1.9 m."""
    m, k = Model("person"), rng.uniform(1.5, 1.9) / 1.75
    coat, trousers, skin = _pick(rng, CLOTHES), tinted(_pick(rng, CLOTHES), 0.7), _pick(rng, SKIN)
    for side in (-1, 1):
        hip, foot = (side * 0.1 * k, 0.85 * k, 0.0), (side * 0.12 * k, 0.08, 0.0)
        m.line([hip, foot], trousers, 0.17 * k, swing=(0, 0, side * 0.32 * k))
        arm = [(side * 0.27 * k, 1.38 * k, 0.0), (side * 0.31 * k, 0.85 * k, 0.02)]
        m.line(arm, tinted(coat, 0.82), 0.11 * k, swing=(0, 0, -side * 0.25))
    m.line([(0.0, 1.28 * k, 0.0), (0.0, 0.9 * k, 0.0)], coat, 0.36 * k)
    m.line([(-0.14 * k, 1.37 * k, 0.0), (0.14 * k, 1.37 * k, 0.0)], coat, 0.2 * k)
    m.line([(0.0, 1.4 * k, 0.0), (0.0, 1.6 * k, 0.0)], skin, 0.13 * k)
    m.line([(0.0, 1.63 * k, 0.0)], skin, 0.24 * k)
    m.line([(0.0, 1.68 * k, -0.03)], _pick(rng, ((60, 42, 30), (30, 26, 24), (170, 130, 80))), 0.23 * k)
    m.line([(0.0, 1.6 * k, 0.06)], skin, 0.16 * k)
    return m


def cycle(rng: Generator, motor: bool) -> Model:
    """A bicycle, or a motorcycle, without its rider."""
    m = Model("motorcycle" if motor else "bicycle")
    colour = _pick(rng, ((180, 30, 34), (36, 84, 160), (30, 32, 34), (40, 130, 100), (220, 130, 30)))
    radius, thick, base = (0.32, 0.14, 0.68) if motor else (0.34, 0.06, 0.54)
    for z in (-base, base):
        r = radius * 0.92
        ring = [(0.0, radius + r * np.sin(a), z + r * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 13)]
        m.face(ring, (84, 84, 86))
        m.line(ring, DARK, thick)
    if motor:
        m.prism([(-0.75, 0.72), (0.5, 0.72), (0.45, 0.35), (-0.45, 0.35)], 0.14, (64, 66, 70))
        m.prism([(-0.05, 0.7), (0.5, 0.7), (0.45, 1.0), (0.05, 0.98)], 0.2, colour)
        m.prism([(-0.95, 0.72), (0.0, 0.72), (-0.1, 0.84), (-0.95, 0.9)], 0.17, DARK)
        m.line([(0, 0.34, 0.7), (0, 1.02, 0.46)], (140, 142, 146), 0.12)
        m.line([(-0.38, 1.06, 0.4), (0.38, 1.06, 0.4)], DARK, 0.07)
        m.end(-0.1, 0.86, 0.1, 1.04, 0.64, (246, 240, 210))
        m.end(-0.08, 0.76, 0.08, 0.88, -0.97, (210, 30, 26))
    else:
        hub, axle, crank, saddle, head = (0.34, -0.54), (0.34, 0.54), (0.34, -0.06), (0.86, -0.2), (0.78, 0.4)
        for (y0, z0), (y1, z1) in ((hub, saddle), (hub, crank), (crank, saddle), (saddle, head), (crank, head)):
            m.line([(0, y0, z0), (0, y1, z1)], colour, 0.06)
        m.line([(0, axle[0], axle[1]), (0, 1.02, 0.34)], colour, 0.06)
        m.line([(0, 0.92, -0.32), (0, 0.92, -0.1)], DARK, 0.12)
        m.line([(-0.27, 1.04, 0.32), (0.27, 1.04, 0.32)], DARK, 0.05)
        m.line([(0, 0.5, -0.86), (0, 0.72, -0.8)], (200, 40, 36), 0.07)
    return m


def rider(rng: Generator, motor: bool) -> Model:
    """Who sits on a `cycle`."""
    m = Model("rider")
    coat, trousers = _pick(rng, CLOTHES), tinted(_pick(rng, CLOTHES), 0.65)
    seat = 0.92 if motor else 1.0
    for side in (-1, 1):
        x = side * (0.2 if motor else 0.13)
        foot = (x, 0.36, 0.05 if motor else 0.0)
        leg = [(x * 0.8, seat, -0.2), (x * 1.2, 0.72, 0.22), foot]
        m.line(leg, trousers, 0.16, swing=(0, 0 if motor else side * 0.14, 0))
        m.line([(side * 0.22, seat + 0.5, 0.0), (side * 0.31, 1.16, 0.3)], tinted(coat, 0.85), 0.11)
    m.line([(0, seat + 0.05, -0.2), (0, seat + 0.42, -0.04)], coat, 0.36)
    m.line([(-0.14, seat + 0.48, 0), (0.14, seat + 0.48, 0)], coat, 0.2)
    m.line([(0, seat + 0.5, 0.0), (0, seat + 0.74, 0.04)], coat, 0.14)
    m.line([(0, seat + 0.74, 0.06)], _pick(rng, SKIN), 0.22)
    helmet = _pick(rng, ((210, 210, 206), (30, 30, 34), (190, 40, 40), (220, 180, 40)))
    m.line([(0, seat + 0.8, 0.04)], helmet, 0.3 if motor else 0.24)
    return m


def tree(rng: Generator, leaves: Colour, height: float) -> Model:
    """A trunk, and a crown of leaf clumps lit from above."""
    m, wide = Model("vegetation"), height * rng.uniform(0.24, 0.32)
    middle = height - wide
    m.line([(0, 0, 0), (0, middle, 0)], (84, 66, 50), 0.13 + 0.03 * height)
    at = rng.normal(size=(34, 3))
    at *= (rng.uniform(0.2, 1, (34, 1)) ** 0.4) / np.linalg.norm(at, axis=1, keepdims=True)
    for x, y, z in at[np.argsort(at[:, 1] - 0.5 * at[:, 2])]:
        gain = 0.72 + 0.3 * y - 0.12 * z - 0.14 * x + rng.uniform(-0.14, 0.14)
        m.line([(x * wide, middle + y * wide, z * wide)], tinted(leaves, gain), wide * rng.uniform(0.45, 0.78))
    for x, y, z in rng.normal(size=(20, 3)):
        r = 0.95 * wide / np.sqrt(x * x + y * y + z * z)
        gain = 0.85 + 0.3 * y * r / wide + rng.uniform(-0.25, 0.25)
        m.line([(x * r, middle + y * r, -abs(z) * r)], tinted(leaves, gain), wide * rng.uniform(0.1, 0.22))
    return m


def lamp(side: float) -> Model:
    """A street lamp whose arm reaches over the road."""
    m, steel = Model("pole"), (104, 108, 110)
    m.line([(0, 0, 0), (0, 1.0, 0)], tinted(steel, 0.8), 0.2)
    m.line([(0, 0, 0), (0, 6.4, 0), (-side * 1.5, 6.7, 0)], steel, 0.13)
    m.line([(-side * 1.2, 6.64, 0), (-side * 1.8, 6.7, 0)], (200, 200, 190), 0.18)
    return m


def post(height: float) -> Model:
    """A bare post for signs and lights."""
    m = Model("pole")
    m.line([(0, 0, 0), (0, height, 0)], (128, 130, 132), 0.1)
    return m


def traffic_light(rng: Generator) -> Model:
    """Three lamps in a dark case, 2.5 m up, facing the camera."""
    m, lit = Model("traffic light"), int(rng.integers(3))
    m.prism([(-0.1, 2.4), (-0.1, 3.5), (0.1, 3.5), (0.1, 2.4)], 0.22, (40, 42, 44))
    for i, colour in enumerate(((70, 230, 120), (250, 190, 50), (250, 60, 48))):
        y = 2.6 + 0.35 * i
        m.line([(0, y, -0.12)], colour if i == lit else tinted(colour, 0.3), 0.26)
    return m


def sign(rng: Generator) -> Model:
    """A plate 2.2 m up, facing the camera: round, triangular, square or a direction board."""
    m, kind = Model("traffic sign"), int(rng.integers(5))
    red, blue, white, yellow = (204, 34, 36), (32, 84, 176), (238, 238, 234), (240, 196, 44)
    rim, inner = ((red, white), (red, white), (blue, white), (blue, blue), (white, yellow))[kind]
    corners, wide = ((12, 0.42), (3, 0.5), (4, 0.46), (12, 0.42), (4, 0.5))[kind]
    turn = np.pi / 2 if corners == 3 else np.pi / 4
    for scale, colour, z in ((1.0, rim, -0.08), (0.74, inner, -0.09)):
        at = np.linspace(0, 2 * np.pi, corners + 1)[:-1] + turn
        m.face([(wide * scale * np.cos(a), 2.6 + wide * scale * np.sin(a), z) for a in at], colour, (0, 0, -1))
    if kind in (0, 3):
        m.end(-0.2, 2.53, 0.2, 2.67, -0.1, DARK if kind == 0 else white)
    return m


def litter_bin(rng: Generator) -> Model:
    """A litter bin: 'static' in Cityscapes."""
    m = Model("static")
    colour = _pick(rng, ((60, 84, 66), (110, 90, 60), (80, 82, 88)))
    m.prism([(-0.3, 0.0), (-0.3, 1.0), (0.3, 1.0), (0.3, 0.0)], 0.3, colour)
    m.prism([(-0.33, 1.0), (-0.33, 1.12), (0.33, 1.12), (0.33, 1.0)], 0.33, DARK)
    return m
