"""Each Metric where the features are, in a process group of one rank: CPU, and a GPU at hand."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.testing import assert_close
from torchmetrics import Metric

from mmrep.metrics.extrema import Extrema
from mmrep.metrics.fourier import FourierMoments
from mmrep.metrics.histogram import Histogram
from mmrep.metrics.moments import ChunkedMoments, RunningMoments
from mmrep.metrics.patches import PatchMoments
from mmrep.metrics.projection import ProjectionConfusion
from mmrep.stats.cca import cca_from_moments
from mmrep.stats.information import Range
from mmrep.stats.subspaces import Heads

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(2, 60, 4, generator=GENERATOR)
MAPS = torch.randn(60, 2, 4, 4, generator=GENERATOR)
LABEL = torch.arange(60) % 3
UNIT_RANGE = Range(torch.full((4,), -9.0).double(), torch.full((4,), 9.0).double())
HEADS = Heads(torch.randn(2, 3, 4, generator=GENERATOR).double(), torch.zeros(2, 3).double())

METRICS: dict[str, tuple[Callable[[], Metric], tuple[Tensor, ...]]] = {
    "moments": (lambda: RunningMoments(4, 4), (X, Y)),
    "moments by products": (lambda: RunningMoments(4, 4, by="products"), (X, Y)),
    "chunks": (lambda: ChunkedMoments(4, 4, chunks=3), (torch.arange(60), X, Y)),
    "maps": (lambda: FourierMoments((2, 2), (4, 4)), (MAPS, MAPS.flip(0))),
    "patches": (lambda: PatchMoments(2, 3), (MAPS,)),
    "extrema": (lambda: Extrema(4), (X,)),
    "histogram": (lambda: Histogram(UNIT_RANGE, num_stimuli=3), (X, LABEL)),
    "projections": (lambda: ProjectionConfusion(HEADS), (X, LABEL)),
}


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[torch.device]:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    backend = "nccl" if request.param == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield torch.device(request.param)
    dist.destroy_process_group()


@pytest.mark.ddp
@pytest.mark.parametrize("name", METRICS)
def test_states_live_with_the_features_in_float64_and_give_the_cpus_numbers(
    name: str, device: torch.device
) -> None:
    make, batch = METRICS[name]
    metric, expected = make().to(device), make()
    for start in (0, 25):
        rows = slice(start, start + 25 + start)
        metric.update(*(part[rows].to(device) for part in batch))
        expected.update(*(part[rows] for part in batch))
    metric.to(torch.float16).half()  # what Lightning's and torch's casts of a module do
    for state in [*metric.metric_state.values(), *metric.buffers()]:
        assert state.device.type == device.type
        assert state.dtype in (torch.float64, torch.int64)
    found = metric.compute()
    if name.startswith("moments"):  # a factor's signs are free
        fit, other = cca_from_moments(found), cca_from_moments(expected.compute())
        assert fit.x.inverse.device.type == device.type
        assert_close(fit.correlations.cpu(), other.correlations)
        return
    assert_close(scattered(found), scattered(expected.compute()))


def scattered(value: Any) -> Any:
    """On the CPU, and a factor as the scatter matrix that it stands for."""
    if isinstance(value, Tensor):
        return value.cpu()
    if hasattr(value, "factor"):
        return (value.factor.T @ value.factor).cpu()
    return [scattered(part) for part in value if not isinstance(part, int | tuple)]
