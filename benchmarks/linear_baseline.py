"""What a linear model on band powers reaches on simulated SHL.

    python -m benchmarks.linear_baseline

Multinomial logistic regression on the log power of the spectrogram's 48 bands: their means over the
minute, then with their standard deviations too. Same split and class weights as the network's. The
simulation is to be such that the network finds more than this.
"""

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmrep.data.in_memory import InMemory
from mmrep.data.shl import SHL


def bands(dataset: InMemory) -> np.ndarray:
    """(samples, 96): mean and deviation over time of each band's log power."""
    images = dataset.inputs[:, 0]
    return np.concatenate([images.mean(dim=2).numpy(), images.std(dim=2).numpy()], axis=1)


def main() -> None:
    table = Table("sensor", "means of bands", "means and deviations", title="macro F1, simulated")
    for sensor in ("acc_norm", "gyr_y", "mag_norm"):
        data = SHL(
            data_dir=None,
            source="simulated",
            sensor=sensor,
            num_classes=8,
            val_segments=3310,
            simulated_segments=16310,
            simulation_seed=0,
            batch_size=64,
            seed=0,
        )
        data.prepare_data()
        data.setup("fit")
        train, val = bands(data.train_set), bands(data.val_set)
        scores = []
        for columns in (48, 96):
            regression = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
            model = make_pipeline(StandardScaler(), regression)
            model.fit(train[:, :columns], data.train_set.label)
            predicted = model.predict(val[:, :columns])
            scores.append(f"{f1_score(data.val_set.label, predicted, average='macro'):.3f}")
        table.add_row(sensor, *scores)
    Console().print(table)


if __name__ == "__main__":
    main()
