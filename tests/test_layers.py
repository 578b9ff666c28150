"""Who may import whom inside mmrep, and what none of it may import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mmrep"
SHARED = {"files"}  # whole files, or none
MAY_IMPORT = {
    "networks": set(),
    "stats": set(),
    "plots": set(),
    "runs": {"weights"},
    "weights": {"data"},
    "batch": set(),
    "files": set(),
    "features": {"batch"},
    "probe": {"features", "stats"},
    "snapshots": {"runs", "stats", "weights"},
    "dynamics": {"probe", "runs", "snapshots", "stats"},
    "metrics": {"stats"},
    "cells": {"features", "metrics", "plots", "stats"},
    "gates": {"batch", "features", "metrics"},
    "data": {"batch", "stats"},
    "tasks": {"batch"},
    "loggers": {"plots"},
    "first_layer": {"metrics", "runs", "stats"},
    "first_layer_report": {"batch", "first_layer", "plots", "stats"},
    "callbacks": {
        "batch",
        "cells",
        "dynamics",
        "features",
        "first_layer",
        "first_layer_report",
        "gates",
        "loggers",
        "metrics",
        "plots",
        "snapshots",
        "stats",
    },
    "screen": {"loggers", "runs"},
    "folders": {"command_line", "runs", "screen"},
    "scores": {"loggers", "plots", "runs", "screen"},
    "studies": {
        "cells",
        "dynamics",
        "features",
        "first_layer",
        "first_layer_report",
        "loggers",
        "networks",
        "plots",
        "probe",
        "runs",
        "scores",
        "screen",
        "snapshots",
        "stats",
        "weights",
    },
    "command_line": set(),
    "replicas": {"data", "loggers", "runs"},
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module if node.module != "mmrep" else f"mmrep.{node.names[0].name}"
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_layer_is_listed() -> None:
    layers = {path.stem for path in PACKAGE.iterdir() if path.stem[0] != "_"}
    assert layers == {layer for layer in MAY_IMPORT if list(PACKAGE.glob(f"{layer}*"))}


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_layer_imports_only_what_it_may(layer: str) -> None:
    for path in [*(PACKAGE / layer).rglob("*.py"), *PACKAGE.glob(f"{layer}.py")]:
        for module in imported(path):
            if module.startswith("mmrep."):
                target = module.split(".")[1]
                allowed = {layer, *MAY_IMPORT[layer], *SHARED}
                assert target in allowed, f"{path} imports mmrep.{target}"
            assert module.split(".")[0] not in ("torchvision", "torchaudio"), path
