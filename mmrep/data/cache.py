"""Arrays that are computed once and kept beside their data set."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mmrep.files import alone, require_space, whole_file


def cached_array(
    folder: Path,
    name: str,
    key: Mapping[str, Any],
    shape: tuple[int, ...],
    chunks: Iterable[np.ndarray],
    *,
    dtype: DTypeLike = "<f4",
) -> np.ndarray:
    """The array of `shape` that `chunks` yield along its first axis, memory-mapped.

    `key` must name everything that went into the array: another key is another file. An interrupted
    computation starts again. What a caller writes to the array does not reach the file.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{name}-{digest}.npy"
    if not path.exists():
        with alone(folder / f".{name}.lock"):
            if not path.exists():  # or another process has made it while this one waited
                for left in folder.glob(f".{name}-*.part.npy"):
                    left.unlink()  # by a process that was killed
                require_space(folder, np.dtype(dtype).itemsize * math.prod(shape))
                with whole_file(path) as part:
                    _write(part, shape, chunks, dtype, title=f"{name}, kept in {folder.name}/")
    return np.load(path, mmap_mode="c")  # torch warns of arrays that refuse to be written to


def code_digest(*modules: str) -> str:
    """A digest of modules' source: for keys of what their code computed."""
    sources = b"".join(Path(module).read_bytes() for module in modules)
    return hashlib.sha256(sources).hexdigest()[:16]


def _write(
    path: Path,
    shape: tuple[int, ...],
    chunks: Iterable[np.ndarray],
    dtype: DTypeLike,
    title: str,
) -> None:
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with path.open("wb") as file, Progress(*columns) as progress:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        rows = progress.add_task(title, total=shape[0])
        written = 0
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk, dtype=dtype).data)
            written += len(chunk)
            progress.update(rows, completed=written)
    if written != shape[0]:
        raise ValueError(f"{title}: {written} rows came where {shape[0]} were announced")
