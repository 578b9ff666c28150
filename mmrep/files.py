"""Files that are either whole or not there, and the room they need."""

import csv
import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to; it becomes `path` only if the block ends without an error.

    The suffix is kept, since Matplotlib and NumPy choose their format by it. The name holds the
    process id, so two processes that write the same file do not disturb each other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # libraries name a temporary file of their own, which tells nobody which disk is full
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        part.unlink(missing_ok=True)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV, whole or not there."""
    with whole_file(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits for any other process in here; the system lets go of a process that was killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def require_space(folder: Path, num_bytes: int) -> None:
    """Raises if the disk of `folder`, which need not exist yet, has no room for so many bytes."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < num_bytes:
        raise OSError(
            f"{folder} needs {num_bytes / 1e6:,.1f} MB and its disk has {free / 1e6:,.1f} MB free: "
            "make room, or choose another place with data_dir=FOLDER"
        )
