"""Networks trained as one against the single runs that they stand for."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from mmrep.runs import read_facts, run_folders
from tests.scripts import run

TRAINING = (
    "model=av_mixed", "data.source=simulated", "data.train_per_digit=20",
    "data.pairing=inconsistent", "trainer.max_epochs=8", "logger=none",
)  # fmt: skip  # 12 updates an epoch


@pytest.mark.slow
def test_replicas_are_written_as_the_runs_they_would_have_been(store: Path) -> None:
    outputs = store / "outputs" / "replicas"
    together = (*TRAINING, "model.net.replicas=2", "seed=5", f"hydra.run.dir={outputs}/all")
    printed = run(store, "train.py", *together)
    for seed in (5, 6):
        assert f"all/replicas/seed-{seed}/run.json" in printed
        alone, replica = outputs / f"alone-{seed}", outputs / "all" / "replicas" / f"seed-{seed}"
        run(store, "train.py", *TRAINING, f"seed={seed}", f"hydra.run.dir={alone}")
        for name in ("init", "last"):
            expected, found = (
                torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
                for folder in (alone, replica)
            )
            assert_close(found["state_dict"], expected["state_dict"], atol=1e-5, rtol=0)
            assert found["global_step"] == expected["global_step"]
            assert_close(found["optimizer_states"], expected["optimizer_states"])
        for name in ("metrics.csv", ".hydra/config.yaml"):
            assert (replica / name).read_text() == (alone / name).read_text()
        expected, found = read_facts(alone), read_facts(replica)
        assert found["scores"] == pytest.approx(expected["scores"], abs=1e-6)
        for name in ("seed", "config", "data", "epochs", "steps", "parameters", "model"):
            assert found[name] == expected[name], name
        files = [
            {str(path.relative_to(folder)) for path in folder.rglob("*.*")} - {"train.log"}
            for folder in (alone, replica)
        ]
        assert files[1] == files[0] - {"checkpoints/best.ckpt"}
        assert (replica / "DONE").exists()
    assert [folder.name for folder in run_folders(str(outputs / "all"))] == ["seed-5", "seed-6"]
    # what was interrupted between the first and the second is gone on with
    for lost in (outputs / "all", outputs / "all" / "replicas" / "seed-6"):
        (lost / "DONE").unlink()
    printed = run(store, "train.py", *together, "resume=true")
    assert "all/replicas/seed-6/run.json" in printed
    assert "all/replicas/seed-5" not in printed
    assert (outputs / "all" / "DONE").exists()
