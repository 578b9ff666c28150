"""Arrays that are computed once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmrep.data.cache import cached_array, code_digest

WHOLE = np.arange(24, dtype=np.float32).reshape(6, 2, 2)


def chunks(fail_after: int = 6) -> Iterator[np.ndarray]:
    for start in range(0, 6, 4):
        if start >= fail_after:
            raise KeyboardInterrupt
        yield WHOLE[start : start + 4]


def never() -> Iterator[np.ndarray]:
    raise AssertionError("computed again")
    yield


def test_is_computed_once_for_a_key(tmp_path: Path) -> None:
    first = cached_array(tmp_path, "acc", {"rate": 100}, WHOLE.shape, chunks())
    again = cached_array(tmp_path, "acc", {"rate": 100}, WHOLE.shape, never())
    assert np.array_equal(first, WHOLE)
    assert np.array_equal(again, WHOLE)
    other = cached_array(tmp_path, "acc", {"rate": 25}, WHOLE.shape, (c + 1 for c in chunks()))
    assert np.array_equal(other, WHOLE + 1)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_bytes_stay_bytes_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    whole = np.arange(250, 256, dtype=np.uint8).reshape(3, 2)
    first = cached_array(tmp_path, "pixels", {}, (3, 2), [whole[:2], whole[2:]], dtype="u1")
    assert first.dtype == np.uint8
    assert np.array_equal(first, whole)
    first[0, 0] = 7
    assert np.array_equal(cached_array(tmp_path, "pixels", {}, (3, 2), never(), dtype="u1"), whole)


def test_an_interruption_leaves_nothing_and_it_starts_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached_array(tmp_path, "acc", {}, WHOLE.shape, chunks(fail_after=4))
    assert not list(tmp_path.glob("*.npy"))
    assert np.array_equal(cached_array(tmp_path, "acc", {}, WHOLE.shape, chunks()), WHOLE)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".acc-0123456789abcdef.99.part.npy"
    left.write_bytes(b"half")
    cached_array(tmp_path, "acc", {}, WHOLE.shape, chunks())
    assert not left.exists()


def test_too_few_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="6 rows came where 7 were announced"):
        cached_array(tmp_path, "acc", {}, (7, 2, 2), chunks())


def test_code_digest_follows_the_source(tmp_path: Path) -> None:
    module = tmp_path / "a.py"
    module.write_text("1")
    before = code_digest(str(module))
    module.write_text("2")
    assert code_digest(str(module)) != before
