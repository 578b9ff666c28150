"""A file is whole or not there."""

import errno
from pathlib import Path

import pytest

from mmrep.files import require_space, whole_file


def test_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.csv"
    with whole_file(path) as part:
        part.write_text("a")
        assert not path.exists()
        assert part.suffix == ".csv"
    assert path.read_text() == "a"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")

    def interrupted() -> None:
        with whole_file(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_too_little_space_is_said_with_the_remedy(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "there" / "yet", 1)
    with pytest.raises(
        OSError, match=r"needs 1,000,000,000,000\.0 MB .* choose another place with data"
    ):
        require_space(tmp_path, 10**18)


def test_a_full_disk_names_the_file_that_was_wanted(tmp_path: Path) -> None:
    def full() -> None:
        with whole_file(tmp_path / "last.ckpt"):
            raise OSError(errno.ENOSPC, "No space left on device", "/tmp/somewhere")

    with pytest.raises(OSError, match="No space left on device") as raised:
        full()
    assert raised.value.filename == str(tmp_path / "last.ckpt")
