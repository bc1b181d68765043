"""One frame of a toy street: its picture, and the polygons from which its labels are drawn.

The polygons own the pixels: they are drawn once, far to near, into a map of polygon numbers, and the
picture is painted through that map. So picture, label ids, instance ids and the written polygons agree
pixel for pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.datasets.toycity.camera import EYE, Camera, Polygon, rasterised
from fewframes.datasets.toycity.figures import Crowd, Shape
from fewframes.datasets.toycity.objects import UPRIGHT, Figure, Plane
from fewframes.datasets.toycity.surfaces import Walls, surface
from fewframes.datasets.toycity.textures import Colour, Pixels


@dataclass(frozen=True)
class Weather:
    """How a clip looks.

    `sky` is a panorama, two pictures wide; `haze` a colour that replaces all others by 1 - 1/e over
    `clear` metres; `shadow` the depth of shadows, 0 to 1; `gain` per channel; `noise` the sensor's,
    `int16 [H + 32, W + 32, 3]`.
    """

    sky: Pixels
    haze: Colour
    clear: float
    shadow: float
    gain: tuple[float, float, float]
    noise: NDArray[np.int16]


@dataclass(frozen=True)
class Frame:
    """`image` uint8 [H, W, 3]; `owner` int32 [H, W]: 0, or 1 + the position in `objects` (label, polygon).

    `items` has what each object is, the very same in every frame of a scene; None for the sky and the own car.
    """

    image: Pixels
    owner: NDArray[np.int32]
    objects: list[tuple[str, Polygon]]
    items: list[Figure | Plane | None]


def draw_frame(walls: Walls, crowd: Crowd, camera: Camera, weather: Weather, time: int) -> Frame:
    """Draw a scene as seen from `camera` at `time`, in frames from the key frame."""
    h, w = camera.height, camera.width
    shapes = [*walls.shapes(camera), *crowd.shapes(camera, time)]
    shapes.sort(key=lambda s: s.order)
    skyline = int(np.clip(camera.horizon + 2, 1, h - 1))
    hood, bonnet = _hood(camera)
    outlines = [[(0, 0), (w - 1, 0), (w - 1, skyline), (0, skyline)], *(s.polygon for s in shapes), hood]
    owner = rasterised(outlines, list(range(1, len(outlines) + 1)), h, w)
    visible = np.flatnonzero(np.bincount(owner.ravel(), minlength=len(outlines) + 1)[1:])

    image = _sky(camera, weather, skyline)
    ground = [k for k in visible.tolist() if 0 < k <= len(shapes) and shapes[k - 1].item.layer < UPRIGHT]
    for k in ground:
        _show(image, owner, k + 1, shapes[k - 1], camera, None)
    _light_ground(image, crowd, camera, weather, time)
    for k in visible.tolist():
        if 0 < k <= len(shapes) and shapes[k - 1].item.layer >= UPRIGHT:
            _show(image, owner, k + 1, shapes[k - 1], camera, weather)
    rows = slice(h - len(bonnet), None)
    cv2.copyTo(bonnet, (owner[rows] == len(outlines)).view(np.uint8), image[rows])

    # What nobody sees, nobody annotates.
    renumber = np.zeros(len(outlines) + 1, np.int32)
    renumber[visible + 1] = np.arange(1, len(visible) + 1)
    names = ["sky", *(s.item.label for s in shapes), "ego vehicle"]
    objects = [(names[k], outlines[k]) for k in visible]
    items = [None, *(s.item for s in shapes), None]
    return Frame(_exposed(image, weather, time), renumber[owner], objects, [items[k] for k in visible])


def _sky(camera: Camera, weather: Weather, skyline: int) -> Pixels:
    """A picture of sky down to the skyline and of haze below it."""
    image = np.empty((camera.height, camera.width, 3), np.uint8)
    image[:] = weather.haze
    left = (weather.sky.shape[1] - camera.width) // 2 + round(camera.focal * camera.yaw)
    panorama = weather.sky[-skyline - 1 :, left : left + camera.width]
    image[: len(panorama)] = panorama
    return image


def _show(
    image: Pixels, owner: NDArray[np.int32], number: int, shape: Shape, camera: Camera, weather: Weather | None
) -> None:
    """Paint a shape's own pixels, hazed by its distance where there is weather."""
    columns, rows = zip(*shape.polygon, strict=True)
    left, top, right, bottom = min(columns), min(rows), max(columns) + 1, max(rows) + 1
    own = (owner[top:bottom, left:right] == number).view(np.uint8)
    if isinstance(shape.item, Plane):
        x, y, wide, high = cv2.boundingRect(own)
        own = own[y : y + high, x : x + wide]
        left, top, right, bottom = left + x, top + y, left + x + wide, top + y + high
        patch, gain = surface(shape.item, camera, left, top, right, bottom), shape.item.gain
    else:
        assert shape.patch is not None
        x, y = left - shape.corner[0], top - shape.corner[1]
        patch, gain = shape.patch[y : y + bottom - top, x : x + right - left], 1.0
        gap = patch[..., 0] == 0
        if gap.any():  # pixels the simplified outline took in
            patch[gap] = shape.item.strokes[0].colour
    if weather:
        keep = float(np.exp(-max(0.0, shape.middle[1]) / weather.clear))
        haze = [(1 - keep) * c for c in weather.haze]
        patch = np.asarray(cv2.add(cv2.convertScaleAbs(patch, alpha=gain * keep), np.array([*haze, 0.0])), np.uint8)
    cv2.copyTo(patch, own, image[top:bottom, left:right])


def _light_ground(image: Pixels, crowd: Crowd, camera: Camera, weather: Weather, time: int) -> None:
    """Lay haze by distance, and the figures' soft shadows, on the ground that has been painted."""
    dark = np.zeros(image.shape[:2], np.uint8)
    crowd.shadows(camera, time, dark)
    first = max(0, int(camera.horizon) + 1)
    rows = np.arange(first, camera.height) + 0.5 - camera.horizon
    keep = np.exp(-EYE * camera.focal / np.maximum(rows, 0.3) / weather.clear).astype(np.float32)[:, None, None]
    blur = max(3, camera.width // 100 | 1)
    shade = np.asarray(cv2.blur(dark[first:], (blur, blur)), np.float32)[..., None]
    light = keep * (1 - weather.shadow / 255 * shade)
    image[first:] = (image[first:] * light + (1 - keep) * np.array(weather.haze, np.float32)).astype(np.uint8)


def _hood(camera: Camera) -> tuple[Polygon, Pixels]:
    """The own car's bonnet: its outline and the picture of the rows it covers."""
    w, h = camera.width, camera.height
    across = np.linspace(-1, 1, 17)
    rows = h * (0.925 + 0.035 * across**2 + 0.03 * across**8)
    outline = [(round((x + 1) / 2 * (w - 1)), round(y)) for x, y in zip(across, rows, strict=True)]
    top = outline[8][1]
    paint = np.array([0.92, 0.97, 1.06], np.float32)
    shade = np.linspace(92, 26, h - top, dtype=np.float32)[:, None, None] * paint
    gloss = 1 + 0.35 * np.exp(-(((np.arange(w) / w - 0.36) / 0.12) ** 2))
    return [*outline, (w - 1, h - 1), (0, h - 1)], np.clip(shade * gloss[:, None], 1, 255).astype(np.uint8)


def _exposed(image: Pixels, weather: Weather, time: int) -> Pixels:
    """The sensor: a slight blur, the weather's gain and tint, noise."""
    h, w = image.shape[:2]
    soft = cv2.GaussianBlur(image, (3, 3), 0.4 + w / 2000)
    ramp = np.arange(256, dtype=np.float32)[:, None] * np.array(weather.gain, np.float32)
    toned = cv2.LUT(soft, np.clip(ramp, 0, 255).astype(np.uint8)[:, None])
    y, x = (time * 37) % 32, (time * 53) % 32
    return np.asarray(cv2.add(toned, weather.noise[y : y + h, x : x + w], dtype=cv2.CV_8U), np.uint8)
