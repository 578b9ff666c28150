"""Simulated RGB-D: surfaces by formulas, rates as asked for, and numbers that are true."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from jaxtyping import Float32
from scipy.stats import binomtest, chi2_contingency

from mmrep.data.solid_shapes import OTHER_PATTERNS, PATTERNS, SOLIDS, pixel_grid, trace
from mmrep.data.solids import (
    CAST,
    CLASS_NAMES,
    DISTANCE,
    HOLES,
    JUMP,
    NOISE,
    PRESETS,
    RADIUS,
    Plan,
    plan,
    render,
    render_solids,
)

SIZE = 32
MANY = {"instances": 30, "views": 10, "seed": 1}  # 3,000 frames, of which none is rendered
FACING = 60 * np.diag([1.0, -1, -1])  # mm; the solid's height points to the camera
CENTRE = np.array([7.0, -4.0, 800.0])

Map = Float32[np.ndarray, "size size"]


def norm(x: Map, y: Map) -> Map:
    return np.hypot(x, y)


def root(square: Map) -> Map:
    """NaN outside."""
    return np.sqrt(np.where(square >= 0, square, np.nan))


def within(inside: np.ndarray, height: Map) -> Map:
    return np.where(inside, height, np.nan)


# How high each solid stands over the plane through its centre, in multiples of its half size.
HEIGHTS: dict[str, Callable[[Map, Map], Map]] = {
    "sphere": lambda x, y: root(1 - x**2 - y**2),
    "ellipsoid": lambda x, y: root(1 - x**2 - y**2),
    "cube": lambda x, y: within(np.maximum(abs(x), abs(y)) < 1, np.ones_like(x)),
    "flat box": lambda x, y: within(np.maximum(abs(x), abs(y)) < 1, np.ones_like(x)),
    "cylinder": lambda x, y: within(norm(x, y) < 1, np.ones_like(x)),
    "cone": lambda x, y: within(norm(x, y) < 1, 1 - 2 * norm(x, y)),
    "pyramid": lambda x, y: within(
        np.maximum(abs(x), abs(y)) < 1, 1 - 2 * np.maximum(abs(x), abs(y))
    ),
    "torus": lambda x, y: root(0.32**2 - (norm(x, y) - 0.68) ** 2),
    "capsule": lambda x, y: 0.5 + root(0.25 - x**2 - y**2),
    "octahedron": lambda x, y: within(abs(x) + abs(y) < 1, 1 - abs(x) - abs(y)),
}


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan("balanced", instances=3, views=4, seed=0)


@pytest.fixture(scope="module")
def faultless(planned: Plan) -> Plan:
    return planned._replace(known={name: 0 * values for name, values in planned.known.items()})


@pytest.mark.parametrize("name", SOLIDS)
def test_depth_of_a_solid_seen_head_on_is_that_of_its_formula(name: str) -> None:
    grid = pixel_grid(151, 180.0)
    seen = trace(SOLIDS[name].distance, FACING, CENTRE, grid)
    height = HEIGHTS[name]((grid[0] - 7) / 60, (grid[1] + 4) / 60)
    inside = ~np.isnan(height)
    # A ray less than a hundredth of a half size beside an outline may be counted either way.
    shifted = [np.roll(inside, step, axis) for step in (-1, 1) for axis in (0, 1)]
    sure = np.all([part == inside for part in shifted], axis=0)
    assert np.array_equal(seen.hit[sure], inside[sure])
    assert inside.mean() > 0.05
    np.testing.assert_allclose(seen.depth[inside & sure], 800 - 60 * height[inside & sure], atol=1)


def test_a_stretched_sphere_that_is_turned_has_the_depth_and_normals_of_its_quadric() -> None:
    grid = pixel_grid(64, 200.0)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    axes = turn * [80.0, 50.0, 35.0]
    seen = trace(SOLIDS["ellipsoid"].distance, axes, CENTRE, grid)
    # (p - c)' Q (p - c) = 1, of which the nearer root along the third axis; Q (p - c) is normal.
    quadric = np.linalg.inv(axes @ axes.T)
    x, y = grid[0].astype(float) - 7, grid[1].astype(float) + 4
    a = quadric[2, 2]
    b = quadric[0, 2] * x + quadric[1, 2] * y
    c = quadric[0, 0] * x**2 + 2 * quadric[0, 1] * x * y + quadric[1, 1] * y**2 - 1
    inside = b**2 - a * c > 0.1 * a  # and not where rays graze
    z = (-b - np.sqrt(np.where(inside, b**2 - a * c, 0))) / a
    assert inside.sum() > 300
    assert seen.hit[inside].all()
    np.testing.assert_allclose(seen.depth[inside], 800 + z[inside], atol=0.5)
    slope = np.einsum("ij,jyx->iyx", quadric, np.stack([x, y, z]))
    slope /= np.linalg.norm(slope, axis=0)
    np.testing.assert_allclose(seen.normal[:, inside], slope[:, inside], atol=0.01)


@pytest.mark.parametrize("name", [*PATTERNS, *OTHER_PATTERNS])
def test_patterns_are_shares_that_vary(name: str) -> None:
    u, v = pixel_grid(40, 4.0)[:2]
    share = {**PATTERNS, **OTHER_PATTERNS}[name](u, v)
    assert share.shape == u.shape
    assert share.dtype == np.float32
    assert share.min() >= 0
    assert share.max() <= 1
    assert share.std() > 0.05


@pytest.mark.parametrize("preset", PRESETS)
def test_frames_have_the_shapes_of_every_source_and_lie_where_they_should(preset: str) -> None:
    frames = render_solids(preset, size=20, instances=2, views=3, seed=5)
    assert frames.rgb.shape == (60, 3, 20, 20)
    assert frames.rgb.dtype == torch.uint8
    assert frames.depth.shape == (60, 1, 20, 20)
    assert frames.depth.dtype == torch.int16
    assert torch.equal(frames.index, torch.arange(60))
    assert torch.equal(frames.group, torch.arange(20).repeat_interleave(3))
    assert len(frames.class_names) == len(set(frames.class_names)) == 10
    assert (frames.class_names == CLASS_NAMES) == (preset != "colour")
    assert all(values.dtype == torch.float32 for values in frames.known.values())
    clear = frames.depth[frames.known["depth_noise"] == 0]
    assert clear[clear > 0].min() > DISTANCE[0] - 2.5 * RADIUS
    assert clear.max() < DISTANCE[1] + 4 * RADIUS
    assert (frames.rgb.float().std(dim=(2, 3)) > 2).all()


def test_one_seed_gives_one_set_and_other_seeds_and_presets_give_others() -> None:
    def made(preset: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return render(plan(preset, instances=1, views=2, seed=seed), 0, 20, size=SIZE)

    first, again = made("balanced", 0), made("balanced", 0)
    for one, same in zip(first, again, strict=True):
        assert np.array_equal(one, same)
    for other in (made("balanced", 1), made("dominant", 0)):
        assert not any(np.array_equal(*pair) for pair in zip(first[1], other[1], strict=True))


def test_a_frame_does_not_depend_on_the_range_that_is_rendered(planned: Plan) -> None:
    whole = render(planned, 0, 40, size=SIZE)
    parts = [render(planned, *bounds, size=SIZE) for bounds in ((0, 7), (7, 8), (8, 40))]
    for image, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(image, np.concatenate(pieces))


def test_each_image_sees_what_the_plan_says(faultless: Plan) -> None:
    rgb, depth = render(faultless, 0, 24, size=SIZE)
    repainted = faultless._replace(texture=(faultless.texture + 1) % 10)
    other_rgb, same_depth = render(repainted, 0, 24, size=SIZE)
    assert np.array_equal(same_depth, depth)
    assert not any(np.array_equal(*pair) for pair in zip(other_rgb, rgb, strict=True))
    reshaped = faultless._replace(solid=(faultless.solid + 3) % 10)
    other_rgb, other_depth = render(reshaped, 0, 24, size=SIZE)
    assert not any(np.array_equal(*pair) for pair in zip(other_depth, depth, strict=True))
    assert not any(np.array_equal(*pair) for pair in zip(other_rgb, rgb, strict=True))


def test_frames_of_one_object_share_its_hue() -> None:
    drawn = plan("balanced", instances=1, views=6, seed=0)
    sixth = np.full_like(drawn.label, [*PATTERNS].index("plain"))
    spheres = drawn._replace(
        texture=sixth,
        solid=0 * sixth,
        known={name: 0 * values for name, values in drawn.known.items()},
    )
    rgb = render(spheres, 0, 60, size=SIZE)[0][:, :, 12:20, 12:20].mean(axis=(2, 3))
    turned = rgb @ np.exp(2j * np.pi / 3 * np.arange(3))
    hue = np.angle(turned / turned.mean()).reshape(10, 6)
    assert hue.std(axis=1).mean() < 0.3 * hue.mean(axis=1).std()


def test_known_numbers_are_true(planned: Plan, faultless: Plan) -> None:
    frames = len(planned.label)
    rgb, depth = render(planned, 0, frames, size=SIZE)
    clean_rgb, clean_depth = render(faultless, 0, frames, size=SIZE)
    noise, holes, cast = (
        planned.known[name] for name in ("depth_noise", "depth_holes", "colour_cast")
    )
    assert all(0 < np.count_nonzero(values) < frames for values in (noise, holes, cast))
    assert (clean_depth > 0).all()
    for frame in range(frames):
        missing = depth[frame] == 0
        assert missing.sum() == round(float(holes[frame]) * SIZE**2)
        error = (depth[frame] - clean_depth[frame])[~missing]
        if noise[frame] == 0:
            assert not error.any()
        else:
            spread = 1 / np.sqrt(2 * len(error))  # of a standard deviation, as a share of it
            assert abs(error.std() / (RADIUS * noise[frame]) - 1) < 4 * spread
        assert np.array_equal(rgb[frame], clean_rgb[frame]) == (cast[frame] == 0)


def test_depth_is_missing_along_outlines_first(planned: Plan, faultless: Plan) -> None:
    chosen = np.flatnonzero(planned.known["depth_holes"] > 0.35)  # outlines alone are less
    assert len(chosen) > 3
    for frame in chosen.tolist():
        (((depth,),),) = render(planned, frame, frame + 1, size=SIZE)[1:]
        (((clean,),),) = render(faultless, frame, frame + 1, size=SIZE)[1:]
        across = np.abs(np.diff(clean.astype(int), axis=1)) > JUMP + 1  # of rounded depths
        assert across.any()
        assert (depth[:, 1:][across] == 0).all()
        assert (depth[:, :-1][across] == 0).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_rates_are_those_of_the_preset(preset: str) -> None:
    drawn, rates = plan(preset, **MANY), PRESETS[preset]
    appearance = drawn.group // MANY["instances"]
    seen = {
        "colour_tells": drawn.texture == appearance,
        "shape_tells": drawn.solid == appearance,
        "label_differs": drawn.label != appearance,
        **{name: drawn.known[name] > 0 for name in ("depth_noise", "depth_holes", "colour_cast")},
    }
    for name, true in seen.items():
        rate = getattr(rates, name)
        assert binomtest(int(true.sum()), len(true), rate).pvalue > 1e-4, name
    assert np.array_equal(drawn.known["colour_tells"], drawn.texture == drawn.label)
    assert np.array_equal(drawn.known["shape_tells"], drawn.solid == drawn.label)
    bounds = {"depth_noise": NOISE, "depth_holes": HOLES, "colour_cast": CAST}
    for name, (least, most) in bounds.items():
        strength = drawn.known[name][seen[name]]
        assert ((strength >= np.float32(least)) & (strength <= np.float32(most))).all()


def test_in_redundant_depth_adds_nothing_to_colour() -> None:
    drawn = plan("redundant", **MANY)
    assert np.array_equal(drawn.solid, drawn.texture)  # the appearance decides both
    assert np.array_equal(drawn.texture, drawn.group // MANY["instances"])
    assert not drawn.known["colour_cast"].any()  # nothing hides the texture
    # Nor does what makes depth bad know whether the label is another.
    differs = drawn.label != drawn.texture
    for name in ("depth_noise", "depth_holes"):
        counts = np.histogram2d(differs, drawn.known[name] > 0, bins=2)[0]
        assert chi2_contingency(counts).pvalue > 1e-3


def test_in_colour_solids_tell_nothing() -> None:
    drawn = plan("colour", **MANY)
    counts = np.histogram2d(drawn.label, drawn.solid, bins=10)[0]
    assert chi2_contingency(counts).pvalue > 1e-3


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"data\.preset='balance' is not one of balanced, dominant, redundant, colour",
    ):
        render_solids("balance", size=SIZE, instances=1, views=1, seed=0)
    with pytest.raises(ValueError, match="instances=0 and views=3 must both be at least 1"):
        plan("balanced", instances=0, views=3, seed=0)
