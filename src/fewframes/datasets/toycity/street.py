"""The street of one clip: ground, houses and gardens, kerbs, traffic and people.

The camera's lane runs along z at x = 0; at the key frame (time 0) the camera passes z = 0. Traffic keeps
to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from fewframes.datasets.toycity import models
from fewframes.datasets.toycity.objects import UPRIGHT, Figure, Model, Plane
from fewframes.datasets.toycity.textures import Colour, Texture, facade, patterned, road, tinted, zebra

T = TypeVar("T")
START, END = -24.0, 150.0
"""The street's first and last metre."""
LANE = 3.4
"""Metres across; a parking bay has 2.2."""
ONCOMING = np.pi

# What is drawn over what; what stands on the ground begins at `UPRIGHT`.
FIELD, PAVEMENT, VERGE, ROAD, CROSSING = range(1, UPRIGHT)
BACKDROP, SETBACK, FRONTAGE, TUBE = range(UPRIGHT, UPRIGHT + 4)

WALLS: tuple[Colour, ...] = (
    (206, 190, 160), (176, 120, 92), (198, 176, 128), (150, 158, 164), (222, 214, 200), (168, 92, 74),
    (142, 150, 128), (190, 148, 140), (120, 126, 140), (214, 186, 120),
)  # fmt: skip
LEAVES: tuple[Colour, ...] = ((74, 112, 48), (92, 128, 52), (58, 92, 50), (126, 128, 50), (160, 112, 44))
GRASS: tuple[Colour, ...] = ((116, 144, 70), (136, 148, 84), (98, 130, 66), (152, 140, 92))
FENCES: tuple[Colour, ...] = ((134, 100, 70), (112, 120, 96), (170, 160, 146))
MASONRY: tuple[Colour, ...] = ((160, 98, 76), (164, 160, 152), (188, 172, 142))
TILES: tuple[Colour, ...] = ((150, 78, 58), (96, 92, 96), (128, 90, 70))
TOWNS = (("house",), ("house", "house", "garden"), ("house", "garden", "yard", "green"), ("garden", "house"))


class Dice:
    """Throws that differ from clip to clip by `variety`: 0 always falls as the city's, 1 as the clip's own.

    `of(name)` gives independent dice, so that one more throw here does not change what falls elsewhere.
    """

    def __init__(self, city: tuple[int, ...], clip: tuple[int, ...], variety: float) -> None:
        self._seeds = city, clip
        self._variety = variety
        self._city, self.own = (default_rng(SeedSequence(seed)) for seed in (city, clip))

    def of(self, *name: int) -> Dice:
        """Dice for one part of the scene."""
        return Dice((*self._seeds[0], *name), (*self._seeds[1], *name), self._variety)

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        city, own = self._city.uniform(low, high), self.own.uniform(low, high)
        return float(city + (own - city) * self._variety)

    def choice(self, among: Sequence[T]) -> T:
        """One of the sequence."""
        city, own = int(self._city.integers(len(among))), int(self.own.integers(len(among)))
        return among[own if self.own.random() < self._variety else city]

    def look(self) -> Generator:
        """A generator for textures: the clip's own, or the city's."""
        return self.own if self.own.random() < self._variety else self._city


class Street:
    """Collects the items of one street; the clip's `number` deals out what is rare, so that none is missing.

    `ppm` is the textures' pixels per metre; `rickshaws` stand among the parked cars where IDD is drawn.
    """

    def __init__(self, dice: Dice, number: int, ppm: float, rickshaws: bool) -> None:
        self.planes: list[Plane] = []
        self.figures: list[Figure] = []
        self._ppm = float(np.clip(ppm, 8, 40))
        self._number = number
        self._rickshaws = rickshaws
        self._own = dice.of(0).own
        self._big = ("bus", "truck", "train")[number % 3]
        plan = dice.of(1)
        self._lanes = plan.choice([1, 1, 2])
        # Along a kerb there are parked cars, or behind it a verge of grass: on one side at least.
        self._parked = plan.choice([(True, False), (False, True), (False, False)])
        self._right = LANE / 2 + 2.2 * self._parked[1]
        self._left = -LANE / 2 - LANE * self._lanes - 2.2 * self._parked[0]
        self._tracks = self._left + 2.2 * self._parked[0] + LANE / 2
        self._walk = plan.uniform(3.2, 4.6)
        self._verge = plan.uniform(1.2, 2.0)
        leaves, height = plan.choice(LEAVES), plan.uniform(4.5, 6.5)
        self._trees = [models.tree(plan.look(), leaves, height * k) for k in (0.7, 0.85, 1.0, 1.2)]
        self._crossing = plan.uniform(9, 26)
        self._ground(dice.of(2))
        self._backdrop(dice.of(3))
        for side in (0, 1):
            self._plots(dice.of(4, side), side)
            self._kerbside(dice.of(5, side), side)
        self._traffic()
        self._people()

    def _kerb(self, side: int) -> tuple[int, float]:
        """The side's sign and its kerb's x."""
        return (1, self._right) if side else (-1, self._left)

    def _plane(
        self, label: str, corner: Sequence[float], across: Sequence[float], up: Sequence[float],
        texture: Texture, layer: int, gain: float = 1.0,
    ) -> None:  # fmt: skip
        c, a, u = np.array(corner, float), np.array(across, float), np.array(up, float)
        self.planes.append(Plane(label, np.stack([c, c + a, c + a + u, c + u]), texture, layer, gain))

    def _floor(self, label: str, x0: float, x1: float, texture: Texture, layer: int) -> None:
        """A strip of ground from x0 to x1, to the horizon."""
        self._plane(label, (x0, 0, START), (x1 - x0, 0, 0), (0, 0, 600), texture, layer)

    def _upright(
        self, label: str, sign: int, x: float, z: float, long: float, up: Sequence[float],
        texture: Texture, layer: int, gain: float = 1.0,
    ) -> None:  # fmt: skip
        """A surface along the street; seen from it, one on the right runs towards us."""
        start, along = (z, long) if sign < 0 else (z + long, -long)
        self._plane(
            label, (x, 0 if up[0] == 0 else up[2], start), (0, 0, along), (up[0], up[1], 0), texture, layer, gain
        )

    def _ground(self, dice: Dice) -> None:
        look, ppm = dice.look(), self._ppm
        asphalt = tinted((112, 112, 116), dice.uniform(0.72, 1.12))
        stone = tinted((172, 164, 154), dice.uniform(0.8, 1.1))
        grass = patterned(look, "grass", dice.choice(GRASS), ppm)
        self._floor("terrain", -300, 300, grass, FIELD)
        slabs = patterned(look, dice.choice(["slabs", "cobbles", "slabs"]), stone, ppm)
        self._floor("sidewalk", self._left - self._walk, self._right + self._walk, slabs, PAVEMENT)
        for side in (0, 1):
            sign, kerb = self._kerb(side)
            if not self._parked[side]:
                edges = sorted((kerb + sign * 0.25, kerb + sign * (0.25 + self._verge)))
                self._floor("terrain", edges[0], edges[1], grass, VERGE)
        lines = [-LANE / 2 - LANE * i for i in range(self._lanes)]
        lines += [LANE / 2] * self._parked[1] + [self._left + 2.2] * self._parked[0]
        rails = self._tracks if self._big == "train" else None
        surface = road(look, asphalt, self._left, self._right, lines, rails, ppm * 1.4)
        self._floor("road", self._left, self._right, surface, ROAD)
        stripes = zebra(look, asphalt, self._right - self._left, ppm * 1.2)
        wide = self._right - self._left
        self._plane("road", (self._left, 0, self._crossing), (wide, 0, 0), (0, 0, 3), stripes, CROSSING)

    def _plots(self, dice: Dice, side: int) -> None:
        """Houses, gardens behind fences, yards behind walls, and greens along one side."""
        sign, kerb = self._kerb(side)
        edge, look, ppm = kerb + sign * self._walk, dice.look(), self._ppm
        style, town = dice.choice(["plaster", "plaster", "brick", "modern"]), dice.choice(TOWNS)
        floors = dice.choice([3, 4, 4, 5])
        houses = []
        for _ in range(4):
            colour, bays, high = dice.choice(WALLS), int(look.integers(3, 6)), floors + int(look.integers(-1, 2))
            gable = patterned(look, "brick" if style == "brick" else "plaster", colour, ppm / 2)
            houses.append((facade(look, style, colour, bays, high, 2.7, ppm), gable))
        fence = patterned(look, dice.choice(["planks", "bars", "planks"]), dice.choice(FENCES), ppm * 1.3)
        wall = patterned(look, dice.choice(["brick", "concrete"]), dice.choice(MASONRY), ppm * 1.2)
        tiles = patterned(look, "tiles", dice.choice(TILES), ppm)
        # One garden and one yard are near on either side: fence and wall are in every clip.
        near = {3: "garden", 4: "yard"} if side == dice.choice([0, 1]) else {3: "yard", 4: "garden"}
        z, k = START, 0
        while z < END:
            plot = dice.of(k)
            front, gable = plot.choice(houses)
            kind, long = near.get(k, plot.choice(town)), front.metres[0]
            if kind != "green":
                back = 0.0 if kind == "house" else 5.0
                self._house(sign, edge + sign * back, z, (front, gable, tiles), SETBACK if back else FRONTAGE)
            if kind == "yard":
                self._upright("wall", sign, edge, z, long, (0, 2.3), wall, FRONTAGE)
            elif kind == "garden" or (kind == "green" and plot.choice([True, False])):
                self._upright("fence", sign, edge, z, long, (0, 1.5), fence, FRONTAGE)
            if kind != "house":
                deep = 9 if kind == "green" else 4
                for _ in range(deep // 2 if z < 40 else int(z < 90)):
                    x = edge + sign * plot.uniform(1.5, deep)
                    self._tree(plot, x, z + plot.uniform(0.1, 0.9) * long, SETBACK)
            z, k = z + long, k + 1

    def _house(self, sign: int, x: float, z: float, surfaces: tuple[Texture, Texture, Texture], layer: int) -> None:
        (front, gable, tiles), deep = surfaces, 5.0 if layer == FRONTAGE else 8.0
        long, high = front.metres
        gain = 0.86 if sign < 0 else 1.04
        self._upright("building", sign, x, z, long, (0, high), front, layer, gain)
        left, right = sorted((x, x + sign * deep))
        outline = ((left, 0, z), (right, 0, z), (right, high, z), (x + sign * 2.8, high + 2.5, z), (left, high, z))
        self.planes.append(Plane("building", np.array(outline), gable, layer, 0.8))
        self._upright("building", sign, x, z, long, (sign * 2.8, 2.5, high), tiles, layer, gain)

    def _backdrop(self, dice: Dice) -> None:
        """What closes the street far ahead."""
        front = facade(dice.look(), "plaster", dice.choice(WALLS), 5, 4, 2.7, self._ppm / 2)
        for x in np.arange(-90, 90, 18.0):
            high, gain = dice.uniform(9, 20), dice.uniform(0.7, 1.1)
            self._plane("building", (x, 0, END + 20), (18.5, 0, 0), (0, high, 0), front, BACKDROP, gain)
        for _ in range(5):
            self._tree(dice, dice.uniform(-40, 40), END, BACKDROP)

    def _add(
        self, model: Model, x: float, z: float, shadow: tuple[float, float] = (0.0, 0.0),
        heading: float = 0.0, pace: float = 0.0, stride: float = 0.0,
    ) -> None:  # fmt: skip
        """A figure between the houses that goes `pace` metres a frame where its `heading` points."""
        velocity = (float(np.sin(heading)) * pace, float(np.cos(heading)) * pace)
        self.figures.append(model.placed(x, z, heading, velocity, stride, TUBE, shadow))

    def _tree(self, dice: Dice, x: float, z: float, layer: int) -> None:
        """One of the street's few trees, turned as the dice fall."""
        tree = self._trees[int(dice.own.integers(len(self._trees)))]
        shadow = (1.3, 1.3) if layer == TUBE else (0.0, 0.0)
        self.figures.append(tree.placed(x, z, dice.own.uniform(0, 6), layer=layer, shadow=shadow))

    def _kerbside(self, dice: Dice, side: int) -> None:
        """Trees and lamps, signs and lights, parked cars and cycles along one kerb."""
        sign, kerb = self._kerb(side)
        own, x = self._own, kerb + sign * 0.6
        trees = dice.choice([True, True, False])
        for k, z in enumerate(np.arange(START + dice.uniform(0, 6), END - 60, dice.uniform(8, 13))):
            if trees and k % 2 == 0:
                self._tree(dice, x, z, TUBE)
            else:
                self._add(models.lamp(sign), x, z)
        for low, high in ((9, 14), (18, 26), (30, 60)):
            z = own.uniform(low, high)
            self._add(models.post(2.6), x - sign * 0.15, z + 0.05)
            self._add(models.sign(own), x - sign * 0.15, z)
        self._add(models.post(3.0), x - sign * 0.2, self._crossing - 0.45)
        self._add(models.traffic_light(own), x - sign * 0.2, self._crossing - 0.6)
        for z in np.arange(START + own.uniform(0, 5), END - 70, 5.6) if self._parked[side] else ():
            if own.random() < 0.75 and abs(z - self._crossing - 1.5) > 4:
                rickshaw = self._rickshaws and own.random() < 0.25
                model = models.autorickshaw(own) if rickshaw else models.car(own)
                self._add(model, kerb - sign * 1.1, z, (0.95, 2.2), heading=0.0 if side else ONCOMING)
        for _ in range(int(own.integers(2, 5))):
            at = kerb + sign * own.uniform(0.8, 1.4), own.uniform(6, 45)
            turn = own.uniform(-0.6, 0.6) + (own.random() < 0.3) * np.pi / 2
            self._add(models.cycle(own, bool(own.random() < 0.4)), *at, (0.3, 0.8), heading=turn)
        self._add(models.litter_bin(own), kerb + sign * 0.8, own.uniform(7, 30), (0.35, 0.35))

    def _drive(self, model: Model, x: float, z: float, speed: float, half: float = 0.95, long: float = 2.2) -> None:
        self._add(model, x, z, (half, long), 0.0 if speed > 0 else ONCOMING, abs(speed))

    def _traffic(self) -> None:
        own, lane = self._own, -LANE
        speed, ahead = own.uniform(0.3, 0.5), bool(own.random() < 0.5)
        if self._big == "train":
            self._drive(models.tram(own), self._tracks, own.uniform(22, 30), -own.uniform(0.15, 0.3), 1.2, 10.4)
        else:
            model, half, long = (models.bus(own), 1.25, 5.0) if self._big == "bus" else (models.truck(own), 1.25, 3.8)
            x, z, pace = (
                (0.0, own.uniform(15, 21), speed) if ahead else (lane, own.uniform(15, 21), -own.uniform(0.1, 0.25))
            )
            self._drive(model, x, z, pace, half, long)
        if self._big == "train" or not ahead:
            self._drive(models.car(own), own.uniform(-0.3, 0.3), own.uniform(13, 24), speed)
        free = ahead and self._big != "train"
        if self._lanes == 2 or free:  # overtakes, so that it comes into view during the clip
            self._drive(models.car(own), lane + 0.2, own.uniform(7, 12), speed + own.uniform(0.3, 0.5))
        if self._big != "train":
            for z in (own.uniform(34, 44), own.uniform(50, 66)):
                self._drive(models.car(own), lane * self._lanes, z, -own.uniform(0.3, 0.5))
        # A bicycle and a motorcycle on the road: one ahead of us on the right, one towards us or across.
        motor = self._number % 2 == 1
        self._rides(motor, own.uniform(0.95, 1.5), own.uniform(8.5, 13), own.uniform(-0.3, 0.3), own.uniform(0.25, 0.4))
        heading = ONCOMING + own.uniform(-0.3, 0.3)
        x, z, pace = own.uniform(-2.2, -1.5), own.uniform(12, 20), own.uniform(0.15, 0.3)
        if own.random() < 0.35:
            heading, x, z = np.pi / 2 * own.choice([-1, 1]), own.uniform(-3, -1), self._crossing - own.uniform(0.5, 2)
        self._rides(not motor, x, z, heading, pace * (0.4 if abs(heading) < 2 else 1))

    def _rides(self, motor: bool, x: float, z: float, heading: float, pace: float) -> None:
        self._add(models.cycle(self._own, motor), x, z, (0.3, 0.8), heading, pace)
        # From the side a leg hides the frame; from ahead or behind the wheel is before the rider.
        nearer = -0.03 if abs(np.sin(heading)) > 0.7 else 0.03
        self._add(models.rider(self._own, motor), x, z + nearer, (0.0, 0.0), heading, pace, 0.45)

    def _people(self) -> None:
        own = self._own
        for i in range(int(own.integers(5, 10))):
            sign, kerb = self._kerb(int(own.integers(2)))
            x, z = (
                kerb + sign * own.uniform(1.2, self._walk - 0.4),
                own.uniform(7, 14) if i < 3 else own.uniform(14, 45),
            )
            self._walks(x, z, own.choice([0.0, ONCOMING]), own.uniform(0.05, 0.1) * (own.random() < 0.8))
        # Someone crosses, from either side.
        right = own.random() < 0.5
        x = (self._right if right else self._left) * own.uniform(0.3, 0.9)
        z = self._crossing + own.uniform(0.5, 2.5)
        self._walks(x, z, -np.pi / 2 if right else np.pi / 2, own.uniform(0.06, 0.1))

    def _walks(self, x: float, z: float, heading: float, pace: float) -> None:
        self._add(models.person(self._own), x, z, (0.3, 0.3), heading, pace, 0.42 if pace else 0.0)
