"""Meshes of VRML however they are spelt, and their depth maps against geometry."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float64

from mmrep.data.depth_mesh import MARGIN, Mesh, read_mesh, render_depth
from tests.data.bu3dfe_miniature import VRML, hemisphere, write_mesh

SQUARE = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])


def triangles(*corners: tuple[int, int, int]) -> np.ndarray:
    return np.array(corners, dtype=np.int64)


def places(size: int, side: float) -> tuple[Float64[np.ndarray, "_"], Float64[np.ndarray, "_ 1"]]:
    """X and y of pixels' centres, in millimetres from the middle of what is `side` wide or high."""
    steps = ((np.arange(size) + 0.5) / size - 0.5) * side / (1 - 2 * MARGIN)
    return steps, -steps[:, None]


def read(folder: Path, text: str) -> Mesh:
    path = folder / "face.wrl"
    path.write_text(text)
    return read_mesh(path)


def test_a_written_mesh_is_read(tmp_path: Path) -> None:
    vertices, polygons = hemisphere(70.0, rings=3, spokes=5)
    write_mesh(tmp_path / "face.wrl", vertices, polygons)
    mesh = read_mesh(tmp_path / "face.wrl")
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-6)
    fans = [[p[0], p[i], p[i + 1]] for p in polygons for i in range(1, len(p) - 1)]
    assert mesh.triangles.tolist() == fans


@pytest.mark.parametrize(
    ("points", "corners"),
    [
        ("0 0 0, 4 0 0, 4 3 0, 0 3 0", "0, 1, 2, 3, -1"),
        ("0 0 0 4 0 0 4 3 0 0 3 0", "0 1 2 3"),  # the last -1 may be left out
        ("0,0,0,\n4,0,0,\r\n4,3,0,\t0,3,0,", "0,1,2,-1,0 2 3,-1,"),
        ("0 0 0 # the first\n4e0 .0 -0.0, +4. 3 0\r\n 0 3 0", "0 1 2 -1 # half\n 0 2 3 -1"),
        ("0 0 0, 4 0 0, 4 3 0, 0 3 0", "-1, 0 -1 2 1 -1, 0 1 2 3 -1"),  # no area: no triangle
    ],
)
def test_spellings_of_one_mesh(tmp_path: Path, points: str, corners: str) -> None:
    mesh = read(tmp_path, VRML.format(points=points, corners=corners))
    assert mesh.vertices.tolist() == [[0, 0, 0], [4, 0, 0], [4, 3, 0], [0, 3, 0]]
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_several_meshes_of_a_file_are_put_together(tmp_path: Path) -> None:
    first = 'url "#1" coordIndex[0 1 2]coord Coordinate{point[0 0 0 1 0 0 0 1 0]}'  # in any order
    second = "coord Coordinate,{ point\n[5 5 5 6 5 5 5 6 5]}\ncoordIndex\n[2 1 0 -1]"
    mesh = read(tmp_path, f"#VRML V2.0 utf8\n{first} {second}")
    assert len(mesh.vertices) == 6
    assert mesh.triangles.tolist() == [[0, 1, 2], [5, 4, 3]]


@pytest.mark.parametrize(
    ("points", "corners", "message"),
    [
        ("", "0 1 2", r"0 numbers in a list of points, which are three to a point"),
        ("0 0 0 1", "0 0 0", r"4 numbers in a list of points"),
        ("0 0 0 1 0 x", "0 1 0", r"could not convert string to float: .*x"),
        ("0 0 0 1 0 nan", "0 1 0", r"a point is not finite"),
        ("0 0 0 1 0 0", "0 1 2", r"a corner of a triangle is none of 2 points"),
        ("0 0 0 1 0 0", "0 1 -2", r"-2 in coordIndex, which has -1 and numbers of points"),
        ("0 0 0 1 0 0", "0 1 0.5", r"invalid literal .*0\.5"),
        ("0 0 0 1 0 0", "", r"it has no triangles"),
        ("0 0 0 ]} coord Coordinate { point [ 1 0 0", "0", r"2 closed lists of points and 1 of co"),
    ],
)
def test_damage_is_named(tmp_path: Path, points: str, corners: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"face\.wrl is of no use as a mesh \({message}.*replace"):
        read(tmp_path, VRML.format(points=points, corners=corners))


def test_a_file_that_is_cut_short_or_no_mesh_is_named(tmp_path: Path) -> None:
    text = VRML.format(points="0 0 0 1 0 0 0 1 0", corners="0 1 2 -1")
    assert read(tmp_path, text).triangles.tolist() == [[0, 1, 2]]
    for cut, message in (
        (text[: text.index("-1\n    ]\n  }")], r"1 closed lists of points and 0 of coordIndex"),
        (text[: text.index("1 0 0 0")], r"0 closed lists of points and 0 of coordIndex"),
        ("", r"0 closed lists of points and 0 of"),
    ):
        with pytest.raises(ValueError, match=rf"face\.wrl is of no use as a mesh \({message}"):
            read(tmp_path, cut)


def test_a_hemisphere_has_its_depth() -> None:
    """Many small triangles lie within 0.1 mm of the sphere, up to near its steep edge."""
    vertices, polygons = hemisphere(80.0, rings=64, spokes=128)
    fans = triangles(*((p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)))
    size = 100
    depth = render_depth(Mesh(vertices + np.array([30, -7, 900]), fans), size)
    x, y = places(size, 160.0)
    far = np.hypot(x, y)
    inside = far < 75
    expected = 80 - np.sqrt(80**2 - far[inside] ** 2) + 1
    assert np.abs(depth[inside] - expected).max() < 0.5 + 0.1  # rounding, and chords
    assert (depth[far > 80] == 0).all()
    assert (depth[far < 79] > 0).all()
    assert depth[depth > 0].min() == 1


def test_a_tilted_plane_has_its_depth_and_stands_in_the_middle() -> None:
    """Z = 2 x - 3 y over 40 x 20 mm: equal scales, right is +x, up is +y."""
    corners = SQUARE * (20, 10, 0)
    corners[:, 2] = 2 * corners[:, 0] - 3 * corners[:, 1]
    size = 64
    depth = render_depth(Mesh(corners, triangles((0, 1, 2), (0, 2, 3))), size)
    x, y = places(size, 40.0)
    covered = (np.abs(x) <= 20) & (np.abs(y) <= 10)
    assert ((depth > 0) == covered).all()  # and no crack along the diagonal
    expected = 70 - (2 * x - 3 * y) + 1  # the nearest corner is at x = 20, y = -10
    assert np.abs(depth - expected)[covered].max() <= 0.5 + 1e-9


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_of_two_triangles_is_seen(order: tuple[int, int]) -> None:
    """Whatever their order, and whichever way round their corners are."""
    behind, before = [-1.0, -1, 0], [0.0, 0, 0]
    vertices = np.array([behind, [1, -1, 0], [1, 1, 0], before, [1, 0, 8], [1, 1, 8], [-1, 1, 0]])
    vertices[3, 2] = 8
    both = triangles((0, 1, 2), (3, 5, 4))
    size = 32
    depth = render_depth(Mesh(vertices, both[list(order)]), size)
    x, y = places(size, 2.0)
    x, y = np.broadcast_arrays(x, y)
    assert (depth[(y > 0.05) & (x > y + 0.05) & (x < 1)] == 1).all()
    assert (depth[(y < -0.05) & (x > y + 0.05) & (x < 1) & (y > -1)] == 9).all()
    assert (depth[x < y - 0.05] == 0).all()


def test_quadrilaterals_are_their_two_triangles(tmp_path: Path) -> None:
    vertices, polygons = hemisphere(50.0)
    halves = [half for p in polygons for half in ([p[:3], [p[0], *p[2:]]] if p[3:] else [p])]
    for name, faces in (("whole", polygons), ("halves", halves)):
        write_mesh(tmp_path / f"{name}.wrl", vertices, faces)
    whole, halves_ = (read_mesh(tmp_path / f"{name}.wrl") for name in ("whole", "halves"))
    assert len(halves) > len(polygons)
    assert (render_depth(whole, 48) == render_depth(halves_, 48)).all()


def test_points_of_no_triangle_do_not_count() -> None:
    two = triangles((0, 1, 2), (0, 2, 3))
    stray = np.concatenate([SQUARE, [[500.0, 0, 9000]]])
    assert (render_depth(Mesh(stray, two), 16) == render_depth(Mesh(SQUARE, two), 16)).all()


def test_what_cannot_be_drawn_is_said() -> None:
    two = triangles((0, 1, 2), (0, 2, 3))
    for flat in (SQUARE * (1, 0, 1), SQUARE[[0, 2, 0, 2]]):  # along an axis, and aslant
        with pytest.raises(ValueError, match="seen from the front its triangles cover no pixel"):
            render_depth(Mesh(flat, two), 16)
    deep = SQUARE.copy()
    deep[2, 2] = 40_000
    with pytest.raises(ValueError, match="it is 40000 mm deep where a depth map ends at 32767"):
        render_depth(Mesh(deep, two), 16)
