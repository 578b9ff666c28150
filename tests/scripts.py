"""Runs train.py and analyze.py as a user does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
TINY = (  # 7 steps an epoch, and 101 validation samples, which no number of ranks divides
    "model=shl_cnn",
    "data.source=simulated",
    "data.simulated_segments=501",
    "data.val_segments=101",
)


def environment(folder: Path) -> dict[str, str]:
    """One thread, no W&B key, and data sets kept in `folder`, where simulations are kept too."""
    hidden = ("WANDB_", "HYDRA_", "MMREP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | {"OMP_NUM_THREADS": "1", "MMREP_DATA": str(folder), "NETRC": os.devnull}


def start(folder: Path, script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROJECT / script), *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A suite that is started in the background ignores interrupts, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(folder: Path, script: str, *arguments: str, code: int = 0) -> str:
    """What the script printed, working in `folder`; it must exit with `code`."""
    process = start(folder, script, *arguments)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == code, printed
    return printed
