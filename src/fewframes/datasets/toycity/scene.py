"""One clip to draw: its street, how the camera drives through it, and the weather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import SeedSequence, default_rng

from fewframes.datasets.toycity.camera import Camera
from fewframes.datasets.toycity.draw import Frame, Weather, draw_frame
from fewframes.datasets.toycity.figures import Crowd
from fewframes.datasets.toycity.street import Dice, Street
from fewframes.datasets.toycity.surfaces import Walls
from fewframes.datasets.toycity.textures import sky

# Sky above, at the horizon; clouds; metres of clear view; depth of shadows; gain and tint of the picture.
WEATHERS = (
    ((86, 140, 208), (206, 222, 236), 0.35, 420, 0.55, (1.06, 1.03, 0.98)),
    ((110, 150, 200), (214, 222, 228), 0.6, 320, 0.42, (1.0, 1.0, 1.0)),
    ((168, 178, 190), (216, 218, 220), 0.9, 200, 0.2, (0.9, 0.92, 0.96)),
    ((150, 160, 176), (202, 204, 206), 0.8, 110, 0.15, (0.84, 0.87, 0.92)),
    ((96, 116, 170), (244, 206, 160), 0.45, 260, 0.45, (1.02, 0.9, 0.78)),
)
SENSOR_NOISE = 2.2
"""Standard deviation of a pixel's grey values, of 255."""


@dataclass(frozen=True)
class Drive:
    """The camera's way: metres a frame, radians a frame of turning, radians of the springs' bobbing."""

    speed: float
    turning: float
    bob: float
    height: int
    width: int

    def at(self, time: float) -> Camera:
        """The camera at a time in frames relative to the key frame."""
        x = self.speed * self.turning * time * abs(time) / 2
        pitch = self.bob * (np.sin(0.9 * time) + 0.5 * np.sin(2.3 * time + 1))
        return Camera(x, self.speed * time, self.turning * time, float(pitch), self.height, self.width)


@dataclass(frozen=True)
class Scene:
    """One clip's street."""

    walls: Walls
    crowd: Crowd
    drive: Drive
    weather: Weather

    def frame(self, time: int) -> Frame:
        """The frame at a time relative to the key frame."""
        return draw_frame(self.walls, self.crowd, self.drive.at(time), self.weather, time)


def build_scene(
    seed: int, split: int, number: int, variety: float, height: int, width: int, rickshaws: bool = False
) -> Scene:
    """The scene of clip `number` of a split, the same for the same arguments."""
    dice = Dice((seed, 0), (seed, 1, split, number), variety)
    street = Street(dice.of(0), number, width / 22, rickshaws)
    look, own = dice.of(1), dice.of(2).own
    top, low, clouds, clear, shadow, tint = look.choice(WEATHERS)
    bright = look.uniform(0.9, 1.08)
    panorama = sky(look.look(), top, low, clouds, max(8, round(0.62 * height)), 2 * width)
    noise = default_rng(SeedSequence((seed, 2, split, number))).standard_normal(
        (height + 32, width + 32, 3), np.float32
    )
    gain = (tint[0] * bright, tint[1] * bright, tint[2] * bright)
    weather = Weather(panorama, low, clear, shadow, gain, np.rint(SENSOR_NOISE * noise).astype(np.int16))
    # Half the clips go straight on, the others bear to one side.
    turning = float(own.choice([0.0, 0.0, -1.0, 1.0]) * own.uniform(0.0008, 0.003))
    # 0.3 to 0.5 m a frame is 18 to 31 km/h at Cityscapes' 17 Hz.
    drive = Drive(dice.of(3).uniform(0.3, 0.5), turning, float(own.uniform(0.0004, 0.0014)), height, width)
    return Scene(Walls(street.planes), Crowd(street.figures), drive, weather)
