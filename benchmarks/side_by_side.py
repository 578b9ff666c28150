"""How the benchmarks of the statistics measure: one process, one thread, rounds interleaved.

Times are CPU seconds, so that other work on the machine counts little; contenders take turns, so
that what it does count is fair. Medians. The floor of a workload is arithmetic at the speed at
which this machine multiplies matrices, or bytes at the speed at which it copies, measured here.
"""

import ctypes
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).parent / "results"


class Contender(NamedTuple):
    """One way to do the workload.

    `share` is the part of the workload that `run` does, for what would take minutes: times are
    divided by it, and the table says so. `rounds` limits how often a slow one runs.
    """

    name: str
    run: Callable[[], Any]
    share: float = 1.0
    rounds: int | None = None


class Target(NamedTuple):
    """A ratio or a size that was set beforehand, such as ("robust", "<=", 7, "x floor")."""

    what: str
    relation: str  # "<=" or ">="
    bound: float
    unit: str


def one_thread() -> None:
    """Holds NumPy's and torch's libraries to one thread each."""
    threadpool_limits(1)
    torch.set_num_threads(1)


def product_speed(dtype: torch.dtype = torch.float64, size: int = 1500) -> float:
    """Floating-point operations a second of a matrix product, the faster of NumPy's and torch's."""
    a = torch.randn(size, size, dtype=dtype)
    array = a.numpy()
    seconds = [
        cpu_seconds(run)[0] for _ in range(5) for run in (lambda: a @ a, lambda: array @ array)
    ]
    return 2 * size**3 / min(seconds)


def copy_speed(megabytes: int = 256) -> float:
    """Bytes a second that are read and written anew."""
    source = torch.ones(megabytes * 2**17, dtype=torch.float64)
    target = torch.empty_like(source)
    seconds = [cpu_seconds(lambda: target.copy_(source))[0] for _ in range(5)]
    return megabytes * 2**20 / min(seconds)


def cpu_seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = run()
    return time.process_time() - started, result


def peak_memory(run: Callable[[], Any]) -> float:
    """MiB by which the resident memory of this process grows at most while `run` runs (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work has freed shall not serve this one
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = resident("VmRSS")
    run()
    return (resident("VmHWM") - before) / 1024


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def compare(
    workload: str,
    contenders: list[Contender],
    *,
    floor: float,
    floor_is: str,
    error: Callable[[Any], float],
    error_is: str,
    targets: Callable[[dict[str, float], dict[str, float], float], list[tuple[Target, float]]],
    alone: dict[str, Callable[[], Any]] | None = None,
    rounds: int = 7,
) -> None:
    """Times the contenders, prints the table and the targets, writes `results/WORKLOAD.json`.

    `floor` is in seconds. `error` judges one result of a contender. `targets` gets the medians (s)
    and the memory (MiB) by name and the floor, and returns each target with what was reached.
    Memory is measured for what stands in `alone` as well.
    """
    name = workload.replace(" ", "_").replace(",", "")
    seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
    results: dict[str, Any] = {}
    for one in contenders:
        one.run()  # warms up: what a library loads at its first call is not the workload's
    memory = {one.name: peak_memory(one.run) for one in contenders}
    memory |= {key: peak_memory(run) for key, run in (alone or {}).items()}
    for turn in range(rounds):
        for one in contenders:
            if one.rounds is None or turn < one.rounds:
                spent, results[one.name] = cpu_seconds(one.run)
                seconds[one.name].append(spent / one.share)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    ours = medians[contenders[0].name]
    table = Table("", "CPU ms", "x floor", "x ours", "MiB", error_is, title=workload)
    rows = []
    for one in contenders:
        part = "" if one.share == 1 else f" (from {one.share:.2g} of it)"
        wrong = error(results[one.name])
        median = medians[one.name]
        cells = (f"{1e3 * median:.1f}{part}", f"{median / floor:.1f}", f"{median / ours:.1f}")
        table.add_row(one.name, *cells, f"{memory[one.name]:.0f}", f"{wrong:.1e}")
        rows.append(
            {
                "name": one.name,
                "seconds": median,
                "all_seconds": seconds[one.name],
                "times_floor": median / floor,
                "share": one.share,
                "memory_mib": memory[one.name],
                "error": wrong,
            }
        )
    table.caption = f"floor {1e3 * floor:.1f} ms: {floor_is}"
    console = Console()
    console.print(table)
    reached = []
    for target, value in targets(medians, memory, floor):
        met = value <= target.bound if target.relation == "<=" else value >= target.bound
        verdict = "met" if met else "NOT met"
        asked = f"{target.relation} {target.bound:g} {target.unit}"
        console.print(f"{target.what}: {value:.3g} ({asked}): {verdict}", highlight=False)
        reached.append({**target._asdict(), "value": value, "met": met})
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    RESULTS.mkdir(exist_ok=True)
    record = {
        "workload": workload,
        "floor_seconds": floor,
        "floor_is": floor_is,
        "error_is": error_is,
        "contenders": rows,
        "targets": reached,
        "machine": machine,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
