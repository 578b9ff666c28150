"""Runs a function on several CPU ranks, as DDP would."""

from collections.abc import Callable
from multiprocessing import set_forkserver_preload
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# Ranks start from a process that has imported what takes longest, once for all tests of a worker.
set_forkserver_preload(["torch", "torchmetrics", "lightning.pytorch"])


def on_ranks(fn: Callable[..., Any], *args: Any, world_size: int, folder: Path) -> list[Any]:
    """The results of `fn(rank, *args)` on each of `world_size` gloo ranks, in rank order."""
    mp.start_processes(
        _run, args=(fn, args, world_size, folder), nprocs=world_size, start_method="forkserver"
    )
    return [torch.load(folder / f"{rank}.pt") for rank in range(world_size)]


def _run(
    rank: int, fn: Callable[..., Any], args: tuple[Any, ...], world_size: int, folder: Path
) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size)
    torch.save(fn(rank, *args), folder / f"{rank}.pt")
    dist.destroy_process_group()
