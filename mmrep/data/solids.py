"""Simulated RGB-D: ten painted solids before cluttered walls, from a seed.

Each class has a solid, which depth sees, and a texture, a pattern in two hues, which colour sees.
Each object has its own proportions and its own variety of the texture, each frame its own view,
light and wall. As in Washington RGB-D an object stands upright and is seen from all sides from
above. Colour sees solids too, as far as outlines and a weak shading show them; textures are
projected along the line of sight, so that they do not bend with the surface.

How much each modality tells about the class is drawn for each frame, at the rates of a `Preset`.
They are set so that in "balanced" small CNNs (`PlainCNN`, 20 epochs, 960 frames) know 79 % of the
frames of new objects by colour, 73 % by depth and 86 % by both. The other presets:

* "dominant": colour tells nearly all; depth is often bad, and often of another class's solid.
* "redundant": no fusion may beat colour. A class of appearance decides both texture and solid; the
  label is that class with probability 0.9, else any other, independently of all that is seen. Given
  the appearance, depth is independent of the label, and colour, without any cast, shows the
  appearance. So who sees both knows no more than who sees colour: the best are right in 90 %.
  A network that has not learnt to read the appearance off the colours may still gain by depth.
* "colour", to pretrain on: other patterns in other hues, on solids that are drawn at random.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64, UInt8
from numpy.random import Generator, SeedSequence, default_rng
from scipy.ndimage import maximum_filter, minimum_filter, zoom
from scipy.spatial.transform import Rotation

from mmrep.data.rgbd_frames import RGBDFrames
from mmrep.data.solid_shapes import (
    OTHER_PATTERNS,
    PATTERNS,
    SOLIDS,
    Field,
    Pattern,
    Points,
    pixel_grid,
    trace,
)

CLASS_NAMES = tuple(SOLIDS)
CLASSES = len(CLASS_NAMES)

WIDTH = 210.0  # mm, of what a frame shows
RADIUS = 75.0  # mm: a half size of 1
DISTANCE = (700.0, 950.0)  # mm to a solid's centre
SHIFT = 15.0  # mm, the most that a centre is beside the middle
ELEVATION = (0.3, 1.0)  # rad, of the camera above a solid
ROLL = 0.15  # rad, of the camera: standard deviation
SIZE_SPREAD = 0.12  # between views: standard deviation of the logarithm
PROPORTIONS = 0.08  # between objects, along each axis: standard deviation of the logarithm
WALL = (110.0, 150.0)  # mm behind a solid's centre
TILT = 0.4  # of the wall at most, mm in a mm

TURNS = 0.022  # of a pattern, in a mm
TURNS_SPREAD = 0.15  # between objects: standard deviation of the logarithm
SLANT = 0.3  # rad, of a pattern: standard deviation
HUE_SPREAD = 0.03  # turns, between objects: standard deviation
SHADE = 0.3  # of the light that is lost where a surface turns away from it
GRAIN = 0.03  # of white: rms of a colour image's noise

NOISE = (0.3, 0.8)  # rms of noise in depth, in multiples of RADIUS
HOLES = (0.2, 0.6)  # share of the pixels that are missing
JUMP = 40.0  # mm between neighbours: an outline, and missing first
BLOBS = 6  # holes side by side, at most
CAST = (0.5, 1.0)  # by how many half turns hues are shifted
GAINS = 0.4  # of red, green and blue in the full cast: standard deviation of the logarithm


class Preset(NamedTuple):
    """How a set is drawn: rates, from 0 to 1, and the textures that there are."""

    colour_tells: float = 1.0  # or else the texture is that of another class
    shape_tells: float = 1.0  # or else the solid is
    label_differs: float = 0.0  # from the class that texture and solid are drawn for
    depth_noise: float = 0.0  # Gaussian, as strong as NOISE
    depth_holes: float = 0.0  # as large as HOLES: outlines, then blobs
    colour_cast: float = 0.0  # as strong as CAST: hues mislead, patterns stay
    patterns: dict[str, Pattern] = PATTERNS  # by class
    first_hue: float = 0.0  # turns


PRESETS = {
    "balanced": Preset(0.98, 0.98, depth_noise=0.2, depth_holes=0.2, colour_cast=0.5),
    "dominant": Preset(0.98, 0.6, depth_noise=0.5, depth_holes=0.5),
    "redundant": Preset(label_differs=0.1, depth_noise=0.3, depth_holes=0.3),
    "colour": Preset(
        shape_tells=1 / CLASSES, colour_cast=0.2, patterns=OTHER_PATTERNS, first_hue=0.05
    ),
}


RATES = ("colour_tells", "shape_tells", "depth_noise", "depth_holes", "colour_cast")


class Plan(NamedTuple):
    """What frames show and how bad they are, before any is rendered.

    `texture` and `solid` are the classes whose texture and solid a frame has. `known` is that of
    `RGBDFrames`: whether `colour_tells` and `shape_tells` the label (0 or 1), and, 0 where there is
    none, `depth_noise` (rms in multiples of 75 mm, a solid's half size), `depth_holes` (share of
    the pixels) and `colour_cast` (half turns of the hues).
    """

    preset: Preset
    entropy: tuple[int, ...]
    label: Int64[np.ndarray, "frames"]
    group: Int64[np.ndarray, "frames"]
    texture: Int64[np.ndarray, "frames"]
    solid: Int64[np.ndarray, "frames"]
    known: dict[str, Float32[np.ndarray, "frames"]]


def rates_of(preset: str, chosen: Mapping[str, float | int | None]) -> Preset:
    """A preset with other rates, by name, where they are not None.

    ValueError: an unknown preset or rate, or one that is no share.
    """
    if preset not in PRESETS:
        raise ValueError(f"data.preset={preset!r} is not one of {', '.join(PRESETS)}")
    for name, rate in chosen.items():
        if name not in RATES:
            raise ValueError(f"data.rates.{name}={rate}: choose those of {', '.join(RATES)}")
        if rate is not None and not 0 <= rate <= 1:
            raise ValueError(f"data.rates.{name}={rate} is a share, from 0 to 1")
    given: dict[str, Any] = {name: float(rate) for name, rate in chosen.items() if rate is not None}
    return PRESETS[preset]._replace(**given)


def plan(
    preset: str,
    *,
    rates: Mapping[str, float | int | None] | None = None,
    instances: int,
    views: int,
    seed: int,
) -> Plan:
    """`views` frames of each of `instances` objects of each class, in this order.

    `rates` are others than the preset's. Presets share no object and no frame. ValueError: an
    unknown preset or rate, no objects, no views.
    """
    drawn = rates_of(preset, rates or {})
    if instances < 1 or views < 1:
        raise ValueError(f"instances={instances} and views={views} must both be at least 1")
    entropy = seed, *preset.encode()
    rng = default_rng(SeedSequence(entropy))
    group = np.repeat(np.arange(CLASSES * instances), views)
    frames = len(group)
    appearance = group // instances

    def another(rate: float) -> Int64[np.ndarray, "_"]:
        """The class of appearance, or at a rate any of the others."""
        step = rng.integers(1, CLASSES, frames)
        return np.where(rng.random(frames) < rate, (appearance + step) % CLASSES, appearance)

    def strength(rate: float, bounds: tuple[float, float]) -> Float32[np.ndarray, "_"]:
        strong = rng.uniform(*bounds, frames)
        return np.where(rng.random(frames) < rate, strong, 0).astype(np.float32)

    label = another(drawn.label_differs)
    texture = another(1 - drawn.colour_tells)
    solid = another(1 - drawn.shape_tells)
    known = {
        "colour_tells": (texture == label).astype(np.float32),
        "shape_tells": (solid == label).astype(np.float32),
        "depth_noise": strength(drawn.depth_noise, NOISE),
        "depth_holes": strength(drawn.depth_holes, HOLES),
        "colour_cast": strength(drawn.colour_cast, CAST),
    }
    return Plan(drawn, entropy, label, group, texture, solid, known)


def render(
    plan: Plan, start: int, stop: int, *, size: int
) -> tuple[UInt8[np.ndarray, "some 3 size size"], Int16[np.ndarray, "some 1 size size"]]:
    """Colour and depth of frames `start` to `stop`, each the same whatever the range."""
    grid = pixel_grid(size, WIDTH)
    pairs = [_frame(plan, frame, grid) for frame in range(start, stop)]
    rgb, depth = zip(*pairs, strict=True)
    return np.stack(rgb), np.stack(depth)[:, None]


def frames_of(
    plan: Plan,
    rgb: UInt8[np.ndarray, "frames 3 size size"],
    depth: Int16[np.ndarray, "frames 1 size size"],
) -> RGBDFrames:
    """All of a plan's frames. Classes have the solids' names, or those of other patterns."""
    textures = plan.preset.patterns
    return RGBDFrames(
        rgb=torch.from_numpy(rgb),
        depth=torch.from_numpy(depth),
        label=torch.from_numpy(plan.label),
        group=torch.from_numpy(plan.group),
        index=torch.arange(len(plan.label)),
        class_names=CLASS_NAMES if textures is PATTERNS else tuple(textures),
        known={name: torch.from_numpy(values) for name, values in plan.known.items()},
    )


def render_solids(preset: str, *, size: int, instances: int, views: int, seed: int) -> RGBDFrames:
    """A simulated set of `size` x `size` pixels: 10 x `instances` x `views` frames.

    ValueError: an unknown preset, no objects, no views.
    """
    planned = plan(preset, instances=instances, views=views, seed=seed)
    return frames_of(planned, *render(planned, 0, len(planned.label), size=size))


def _frame(
    plan: Plan, frame: int, grid: Points
) -> tuple[UInt8[np.ndarray, "3 size size"], Int16[np.ndarray, "size size"]]:
    group, texture = int(plan.group[frame]), plan.texture[frame]
    thing, view, fault = (
        default_rng(SeedSequence(plan.entropy, spawn_key=key))
        for key in ((0, group), (1, frame), (2, frame))
    )
    solid = SOLIDS[CLASS_NAMES[plan.solid[frame]]]
    half_sizes = RADIUS * np.array(solid.half_sizes) * thing.lognormal(0, PROPORTIONS, 3)
    axes = _turned(view) * half_sizes * view.lognormal(0, SIZE_SPREAD)
    centre = np.array([*view.uniform(-SHIFT, SHIFT, 2), view.uniform(*DISTANCE)])
    seen = trace(solid.distance, axes, centre, grid)
    tilt = view.uniform(-TILT, TILT, 2).astype(np.float32)
    wall = np.float32(centre[2] + view.uniform(*WALL)) + tilt[0] * grid[0] + tilt[1] * grid[1]
    in_front = seen.hit & (seen.depth < wall)

    light = np.array([*view.normal(0, 0.5, 2), -1])  # towards it, from the camera's side
    light = (light / np.linalg.norm(light)).astype(np.float32)
    lit = np.maximum(np.tensordot(light, seen.normal, axes=1), 0)
    pattern = [*plan.preset.patterns.values()][texture]
    # Thrice: solids that are nearly alike, neighbours in `SOLIDS`, differ most in hue.
    hue = plan.preset.first_hue + 3 * texture / CLASSES + thing.normal(0, HUE_SPREAD)
    paint = _painted(pattern, hue, 0.8, grid, look=thing, place=view)
    clutter = [*PATTERNS.values(), *OTHER_PATTERNS.values()]
    paper = clutter[view.integers(len(clutter))]
    behind = _painted(paper, view.random(), 0.3, grid, look=view, place=view)
    rgb = np.where(in_front, paint * (1 - SHADE + SHADE * lit), behind)

    known = {name: float(values[frame]) for name, values in plan.known.items()}
    depth = np.where(in_front, seen.depth, wall)
    return (
        _photographed(rgb, known["colour_cast"], fault),
        _measured(depth, known["depth_noise"], known["depth_holes"], fault),
    )


def _turned(view: Generator) -> np.ndarray:
    """(3, 3): a solid's axes of length 1, its height up in the image or towards the camera."""
    around, above, roll = view.uniform(-np.pi, np.pi), view.uniform(*ELEVATION), view.normal()
    angles = [around, np.pi / 2 + above, ROLL * roll]
    return Rotation.from_euler("zxz", angles).as_matrix()


def _painted(
    pattern: Pattern,
    hue: float,
    saturation: float,
    grid: Points,
    *,
    look: Generator,
    place: Generator,
) -> Points:
    """A light hue and a dark one, a third of a turn apart, all over the frame; values to 1."""
    turns = TURNS * look.lognormal(0, TURNS_SPREAD)
    light, dark = look.uniform(0.8, 1), look.uniform(0.4, 0.6)
    slant = place.normal(0, SLANT)
    x, y = grid[0], grid[1]
    right, down = np.float32(turns * np.cos(slant)), np.float32(turns * np.sin(slant))
    first, second = place.uniform(-0.5, 0.5, 2).astype(np.float32)
    share = pattern(right * x + down * y + first, right * y - down * x + second)
    one, other = _colour(hue, saturation, light), _colour(hue + 1 / 3, saturation, dark)
    return one + share * (other - one)


def _colour(hue: float, saturation: float, value: float) -> Float32[np.ndarray, "3 1 1"]:
    lacking = 0.5 - 0.5 * np.cos(2 * np.pi * (hue - np.arange(3) / 3))
    return (value * (1 - saturation * lacking)).astype(np.float32)[:, None, None]


def _photographed(rgb: Points, cast: float, fault: Generator) -> UInt8[np.ndarray, "3 size size"]:
    """As bytes: hues turned about grey by `cast` half turns, a coloured light, and noise."""
    way = fault.choice([-1, 1]) * np.ones(3) / np.sqrt(3)
    turn = Rotation.from_rotvec(np.pi * cast * way).as_matrix()
    gains = np.exp(cast * fault.normal(0, GAINS, 3))
    changed = np.tensordot((gains[:, None] * turn).astype(np.float32), rgb, axes=1)
    changed += GRAIN * fault.standard_normal(rgb.shape, np.float32)
    return np.clip(255 * changed, 0, 255).round().astype(np.uint8)


def _measured(
    depth: Field, noise: float, holes: float, fault: Generator
) -> Int16[np.ndarray, "size size"]:
    """Whole mm, and 0 in a share `holes` of the pixels: along outlines first, then in blobs."""
    noisy = depth + noise * RADIUS * fault.standard_normal(depth.shape, np.float32)
    measured = np.maximum(noisy, 1).round().astype(np.int16)
    coarse = fault.random((BLOBS, BLOBS))
    field = zoom(coarse, len(depth) / BLOBS, order=1, mode="nearest", grid_mode=True)
    field[maximum_filter(depth, 3) - minimum_filter(depth, 3) > JUMP] = -1
    measured.flat[np.argsort(field, axis=None, kind="stable")[: round(holes * depth.size)]] = 0
    return measured
