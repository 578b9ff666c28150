"""Runs that several tests look into."""

from pathlib import Path

import pytest

from tests.scripts import TINY, run


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, where simulated data are kept from one command to the next."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def finished(store: Path) -> tuple[Path, str]:
    """The folder of an undisturbed run of 4 epochs with W&B offline, and what it printed."""
    printed = run(
        store, "train.py", *TINY, "trainer.max_epochs=4", "checkpoint.every=2",
        "hydra.run.dir=outputs/undisturbed/0",
    )  # fmt: skip
    return store / "outputs" / "undisturbed" / "0", printed
