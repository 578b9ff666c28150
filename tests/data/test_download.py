"""`download` on local files and servers: what arrives is right, or one sentence says why not."""

import hashlib
import io
import re
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from mmrep.data.download import download, download_folder

CONTENT = b"nineteen activities" * 200_000  # more than one piece
CHECKSUMS = (
    None,
    f"md5:{hashlib.md5(CONTENT).hexdigest()}",
    f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "daily+and sports.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


class _Server(BaseHTTPRequestHandler):
    """Announces `announced` bytes and sends CONTENT, or answers 404 under /missing."""

    announced: ClassVar[int] = len(CONTENT)

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.announced))
        self.end_headers()
        with suppress(ConnectionError):  # the client may hang up after the headers
            self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the base class would write to stderr."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), _Server) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("checksum", CHECKSUMS)
def test_a_file_arrives_under_its_own_name_and_alone(
    source: Path, tmp_path: Path, checksum: str | None
) -> None:
    path = download(source.as_uri(), checksum, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / source.name  # %20 of the URL undone
    assert path.read_bytes() == CONTENT
    assert left_over(path.parent) == [source.name]


@pytest.mark.parametrize("checksum", CHECKSUMS)
def test_a_file_that_is_there_and_right_needs_no_network(
    source: Path, tmp_path: Path, checksum: str | None
) -> None:
    path = download(source.as_uri(), checksum, tmp_path)
    source.unlink()
    assert download(source.as_uri(), checksum, tmp_path) == path


def test_a_file_that_is_there_and_wrong_is_fetched_anew(source: Path, tmp_path: Path) -> None:
    (tmp_path / source.name).write_bytes(b"half a file")
    assert download(source.as_uri(), CHECKSUMS[1], tmp_path).read_bytes() == CONTENT


def test_wrong_content_is_named_and_not_kept(source: Path, tmp_path: Path) -> None:
    wrong = "md5:" + "0" * 32
    message = rf"{re.escape(source.as_uri())} gave a file with {CHECKSUMS[1]} instead of {wrong}"
    with pytest.raises(OSError, match=message):
        download(source.as_uri(), wrong, tmp_path / "new")
    assert left_over(tmp_path / "new") == []


def test_http_brings_the_same_bytes(server: str, tmp_path: Path) -> None:
    assert download(f"{server}/set.bin", CHECKSUMS[1], tmp_path).read_bytes() == CONTENT


def test_refused_connection_says_what_from_where_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, never listening: refuses
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/set.zip"
        with pytest.raises(
            ConnectionError, match=rf"set\.zip could not be fetched from {url} \(.*refused\)"
        ) as raised:
            download(url, None, tmp_path / "new")
    assert str(raised.value).endswith(f"put it into {tmp_path}/new")
    assert left_over(tmp_path) == []


def test_an_answer_other_than_the_file_is_no_file(server: str, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"missing could not be fetched .*404"):
        download(f"{server}/missing", None, tmp_path)
    assert left_over(tmp_path) == []


def test_a_transfer_that_ends_early_leaves_nothing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Server, "announced", len(CONTENT) + 7)
    with pytest.raises(ConnectionError, match=r"after 3,800,000 of 3,800,007 bytes"):
        download(f"{server}/set.bin", None, tmp_path)
    assert left_over(tmp_path) == []


def test_a_file_larger_than_the_disk_is_not_begun(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Server, "announced", 2**60)
    with pytest.raises(OSError, match=r"needs [0-9,.]* MB and its disk has .* MB free: make room"):
        download(f"{server}/set.bin", None, tmp_path)
    assert left_over(tmp_path) == []


HOSTILE = {"data/s01.txt": b"1", "../outside.txt": b"2", "data/../../../outside.txt": b"3"}


def archive_of(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_a_folder_comes_whole_out_of_its_archive(tmp_path: Path, name: str) -> None:
    archive = archive_of(tmp_path / name, {"data/a01/s01.txt": b"1,2", "readme.txt": b"no data"})
    folder = tmp_path / "set"
    assert download_folder(archive.as_uri(), None, folder, "data") == folder / "data"
    assert (folder / "data" / "a01" / "s01.txt").read_bytes() == b"1,2"
    assert left_over(folder) == ["data", name]


def test_a_zip_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "set.zip", HOSTILE)
    folder = download_folder(archive.as_uri(), None, tmp_path / "a" / "b", "data")
    assert left_over(folder) == ["s01.txt"]
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_tar_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "set.tar.gz", HOSTILE)
    with pytest.raises(ValueError, match=r"cannot be unpacked .* outside the destination"):
        download_folder(archive.as_uri(), None, tmp_path / "a" / "b", "data")
    assert left_over(tmp_path / "a" / "b") == ["set.tar.gz"]
    assert not list(tmp_path.rglob("outside.txt"))


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_what_is_no_whole_archive_is_named(tmp_path: Path, name: str) -> None:
    archive = archive_of(tmp_path / name, {"data/s01.txt": CONTENT})
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(ValueError, match=rf"{re.escape(name)} cannot be unpacked .* delete it"):
        download_folder(archive.as_uri(), None, tmp_path / "set", "data")
    assert left_over(tmp_path / "set") == [name]


def test_another_archive_is_named(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "set.zip", {"other/s01.txt": b"1"})
    with pytest.raises(ValueError, match=r"set\.zip holds no folder data"):
        download_folder(archive.as_uri(), None, tmp_path / "set", "data")


def test_no_folder_and_no_archive_is_a_missing_file(tmp_path: Path) -> None:
    url = (tmp_path / "nowhere.zip").as_uri()
    with pytest.raises(FileNotFoundError, match=rf"no {tmp_path}/set/data, and nowhere\.zip could"):
        download_folder(url, None, tmp_path / "set", "data")
