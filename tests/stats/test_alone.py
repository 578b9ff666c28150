"""The statistics stand alone: no training framework, no configuration."""

import subprocess
import sys
from pathlib import Path

import mmrep.stats

WITHOUT = ("lightning", "pytorch_lightning", "hydra", "omegaconf", "torchmetrics", "wandb")


def test_importing_the_statistics_needs_neither_lightning_nor_hydra() -> None:
    modules = sorted(path.stem for path in Path(mmrep.stats.__file__).parent.glob("[!_]*.py"))
    assert "cca" in modules
    program = [f"import sys; sys.modules.update(dict.fromkeys({WITHOUT}))"]  # None: not to be had
    program += [f"import mmrep.stats.{module}" for module in modules]
    subprocess.run([sys.executable, "-c", "; ".join(program)], check=True)
