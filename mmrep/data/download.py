"""Files from the net, fetched once and checked: the one way in which every data set arrives."""

import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen
from zlib import error as ZlibError

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from mmrep.files import require_space, whole_file

TIMEOUT = 30.0  # seconds without a sign of life from the server
PIECE = 2**20  # bytes between two steps of the progress bar


def download(url: str, checksum: str | None, folder: Path) -> Path:
    """The file behind `url`, whole and right, in `folder` under its own name.

    `checksum` is "md5:..." or "sha256:...", in hexadecimal; with None the caller checks what the
    file holds. A file that is there and right, put there by hand perhaps, is not fetched again; one
    with another checksum is fetched anew. ConnectionError: the file did not come.
    """
    path = folder / unquote(urlsplit(url).path.rpartition("/")[2])
    if path.exists() and (checksum is None or _checksum(path, checksum) == checksum):
        return path
    with _one_sentence(url, path):
        # some servers refuse the name that Python gives itself
        response = urlopen(Request(url, headers={"User-Agent": "mmrep"}), timeout=TIMEOUT)
    with response, whole_file(path) as part:
        _write(response, part, url, path)
        if checksum and (found := _checksum(part, checksum)) != checksum:
            raise OSError(
                f"{url} gave a file with {found} instead of {checksum}: try again later, or "
                f"put the right file at {path}"
            )
    return path


def download_folder(url: str, checksum: str | None, folder: Path, member: str) -> Path:
    """The folder `member` of the archive (zip or tar) behind `url`, put whole into `folder`.

    Everything is unpacked beside its place and only `member` is moved there, so that neither an
    interruption nor a path such as ../x in the archive can leave anything behind.
    FileNotFoundError: there was no such folder, and the archive did not come either.
    """
    try:
        archive = download(url, checksum, folder)
    except ConnectionError as error:
        raise FileNotFoundError(f"there is no {folder / member}, and {error}") from None
    # absolute and upward paths: the unpacking of zip leaves them out, that of tar has to be told
    safety: Literal["data"] | None = None if archive.suffix == ".zip" else "data"
    with TemporaryDirectory(dir=folder, prefix=".unpacked-") as temporary:
        try:
            shutil.unpack_archive(archive, temporary, filter=safety)
            (Path(temporary) / member).replace(folder / member)
        except (zipfile.BadZipFile, TarError, shutil.ReadError, ZlibError, EOFError) as error:
            raise ValueError(
                f"{archive} cannot be unpacked ({error}): delete it, then it is fetched again"
            ) from None
        except FileNotFoundError:
            raise ValueError(
                f"{archive} holds no folder {member}, so it is not the archive from {url}: delete "
                "it, then it is fetched again"
            ) from None
    return folder / member


def _checksum(path: Path, like: str) -> str:
    """The checksum of a file, by the same algorithm as another one."""
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _write(response: Any, part: Path, url: str, path: Path) -> None:
    """What the server sends, to `part`, which will become `path`."""
    length = int(response.headers.get("Content-Length", 0)) or None  # some servers do not say
    require_space(path.parent, length or 0)
    title = "{task.description}"
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with part.open("wb") as file, Progress(title, *columns) as progress:
        task = progress.add_task(path.name, total=length)
        while True:
            with _one_sentence(url, path):  # not round the writing: a full disk is no lost network
                piece = response.read(PIECE)
                if not piece and length and file.tell() < length:
                    raise EOFError(f"it ended after {file.tell():,} of {length:,} bytes")
            if not piece:
                return
            file.write(piece)
            progress.advance(task, len(piece))


@contextmanager
def _one_sentence(url: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException, EOFError) as error:
        reason = str(error).strip("<>") or type(error).__name__
        raise ConnectionError(
            f"{path.name} could not be fetched from {url} ({reason}): where there is no network, "
            f"get that file by other means and put it into {path.parent}"
        ) from None
