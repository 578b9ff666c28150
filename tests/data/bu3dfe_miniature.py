"""Writes some scans of BU-3DFE as its authors distribute them, with hemispheres for faces."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from tests.data.faces_miniature import random_image

EXPRESSIONS = ("AN", "DI", "FE", "HA", "SA", "SU")
Vertices = Float64[np.ndarray, "vertices 3"]
Polygons = Sequence[Sequence[int]]

VRML = """#VRML V2.0 utf8
# written [ by ] a test, Coordinate {{ point [ 9 9 9 ] }}
Shape {{
  appearance Appearance {{
    material Material {{ ambientIntensity 0.2 diffuseColor 1.0 1.0 1.0 }}
    texture ImageTexture {{ url "picture#1.bmp" }}
  }}
  geometry IndexedFaceSet {{
    creaseAngle 0.5
    coord DEF Face Coordinate {{
      point [
        {points}
      ]
    }}
    texCoord TextureCoordinate {{ point [ 0.25 0.5, 0.75 1.0 ] }}
    normal Normal {{ vector [ 0 0 1 ] }}
    texCoordIndex [ 0, 1, 0, -1 ]
    coordIndex [
      {corners}
    ]
  }}
}}
"""


def write_mesh(path: Path, vertices: Vertices, polygons: Polygons) -> None:
    points = ",\n        ".join(f"{x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices)
    corners = ",\n      ".join(", ".join(map(str, [*polygon, -1])) for polygon in polygons)
    path.write_text(VRML.format(points=points, corners=corners))


def hemisphere(radius: float, rings: int = 8, spokes: int = 12) -> tuple[Vertices, list[list[int]]]:
    """The half of a sphere round the origin that is towards who looks: a fan and quadrilaterals."""
    down = np.linspace(0, np.pi / 2, rings + 1)[1:, None]
    round_ = np.linspace(0, 2 * np.pi, spokes, endpoint=False)
    rim = np.stack(
        [np.sin(down) * np.cos(round_), np.sin(down) * np.sin(round_), np.cos(down + 0 * round_)],
        axis=-1,
    )
    vertices = radius * np.concatenate([[[0.0, 0.0, 1.0]], rim.reshape(-1, 3)])
    around = [(spoke, (spoke + 1) % spokes) for spoke in range(spokes)]
    polygons = [[0, 1 + here, 1 + there] for here, there in around]
    for ring in range(rings - 1):
        first, second = 1 + ring * spokes, 1 + (ring + 1) * spokes
        polygons += [[first + a, second + a, second + b, first + b] for a, b in around]
    return vertices, polygons


def radius(expression: str, intensity: int) -> float:
    """In millimetres, of the hemispheres of `write_bu3dfe`."""
    return 60.0 + 5 * EXPRESSIONS.index(expression) + intensity


def write_bu3dfe(folder: Path, *, subjects: Sequence[str] = ("F0001", "F0002", "M0001")) -> Path:
    """`folder`/bu3dfe with every kind of file of each subject."""
    source = folder / "bu3dfe"
    for number, subject in enumerate(subjects):
        inside = source / subject
        inside.mkdir(parents=True)
        ethnicity = ("WH", "BL", "AE")[number % 3]
        for label, expression in enumerate(EXPRESSIONS):
            for intensity in range(1, 5):
                stem = f"{subject}_{expression}{intensity:02}{ethnicity}"
                seed = 1000 * number + 10 * label + intensity
                random_image(16, 16, seed).save(inside / f"{stem}_F2D.bmp")
                write_mesh(inside / f"{stem}_F3D.wrl", *hemisphere(radius(expression, intensity)))
                for unused in ("F3D.bnd", "RAW.pse", "RAW.wrl"):
                    (inside / f"{stem}_{unused}").write_text("1 2.0 3.0 4.0\n")
        neutral = f"{subject}_NE00{ethnicity}"
        random_image(16, 16, 0).save(inside / f"{neutral}_F2D.bmp")
        write_mesh(inside / f"{neutral}_F3D.wrl", *hemisphere(50.0))
    return source
