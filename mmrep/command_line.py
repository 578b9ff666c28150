"""What both scripts share at the command line: errors as one sentence, choices that are numbers."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[1] / "conf"
ELSEWHERE = "write elsewhere with hydra.run.dir=FOLDER, or data_dir=FOLDER"
REMEDIES = {  # of what the system says
    "No space left on device": f"free some, or {ELSEWHERE}",
    "Permission denied": ELSEWHERE,
    "Read-only file system": ELSEWHERE,
    "Not a directory": ELSEWHERE,
}
INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
EXPECTED = (ValueError, OSError, RuntimeError, ConfigCompositionException, MissingConfigException)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turns whatever ends a script into one sentence about its innermost cause, and exit code 1.

    `HYDRA_FULL_ERROR=1` shows the stack instead. Hydra's own report is kept back by that same
    variable, which it reads when an exception arrives; ranks that are started anew inherit it, and
    our mark beside it.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1" and "MMREP_ONE_SENTENCE" not in os.environ:
        yield
        return
    os.environ |= {"HYDRA_FULL_ERROR": "1", "MMREP_ONE_SENTENCE": "1"}
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        print(f"\nerror: {sentence(innermost(error))}", file=sys.stderr)
        sys.exit(1)
    finally:
        for name in ("HYDRA_FULL_ERROR", "MMREP_ONE_SENTENCE"):
            os.environ.pop(name, None)


def innermost(error: BaseException) -> BaseException:
    """The exception that all others were raised from."""
    while (cause := error.__cause__) is not None and not isinstance(
        error, ConfigCompositionException
    ):
        error = cause
    return error


def sentence(error: BaseException) -> str:
    """What went wrong, what is allowed, what to do."""
    text = str(error).strip()
    if isinstance(error, MissingConfigException):
        return _unknown_choice(text)
    if match := re.match(r"Could not override '([^']+)'", text):
        return _unknown_key(match[1])
    if isinstance(error, OSError) and error.strerror:
        return _system_error(error)
    if isinstance(error, EXPECTED) and text:
        return " ".join(text.split())
    return f"{type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)"


def check_training(config: DictConfig, *, multirun: bool) -> None:
    """Raises where what was chosen cannot be trained."""
    chosen = HydraConfig.get().runtime.choices
    for variant, does in (("size", "shortens"), ("source", "changes")):
        name, presets = chosen[variant], choices(f"{variant}/{chosen[variant]}")
        if name != "paper" and chosen["experiment"] not in presets:
            raise ValueError(
                f"{variant}={name} {does} a preset: choose one with experiment=NAME, NAME one of "
                f"{', '.join(presets)}"
            )
    for group in ("model", "data"):
        if group not in config or "_target_" not in config[group]:
            names = ", ".join(choices(group))
            raise ValueError(f"choose a {group}: python train.py {group}=NAME, NAME one of {names}")
    if not (isinstance(config.seed, int) and 0 <= config.seed < 2**32):
        raise ValueError(f"seed={config.seed} is not a whole number from 0 to {2**32 - 1}")
    if "backbones" in config and "branches" not in config.model.net:
        raise ValueError(
            f"backbones={chosen['backbones']} are of networks with branches: choose one of "
            f"{', '.join(name for name in choices('model') if name.startswith('rgbd'))}"
        )
    if "backbone" in config and config.backbone not in config.backbones:
        names = ", ".join(config.backbones)
        raise ValueError(f"backbone={config.backbone!r} is not one of {names}")
    several = OmegaConf.select(config, "model.net.replicas", default=1) > 1
    if several and config.trainer.devices != 1:
        raise ValueError(
            f"model.net.replicas={config.model.net.replicas} are trained on one device, and "
            f"trainer.devices={config.trainer.devices}: choose trainer=cpu or trainer=gpu"
        )
    alpha, stride = (OmegaConf.select(config, key) for key in ("data.alpha", "model.net.stride"))
    if alpha is not None and stride != 3:
        raise ValueError(
            f"data.alpha={alpha} lays patches of 3 x 3 side by side, to be read one by one: choose "
            "model=vgg11 model.net.stride=3"
        )
    swept = HydraConfig.get().job.override_dirname
    if several and multirun and re.search(r"(^|\x1f)seed=", swept):
        replicas = config.model.net.replicas
        if config.seed % replicas:
            raise ValueError(
                f"seed={config.seed} with model.net.replicas={replicas}: replicas have the seeds "
                f"that follow, so sweep over multiples of {replicas}, such as seed=0"
            )
    if multirun and OmegaConf.select(config, "trainer.strategy") == "ddp":
        raise ValueError(
            "trainer.strategy=ddp starts each rank with the same command line, so each would run "
            "the whole sweep: give each job one device (trainer=cpu or trainer=gpu), or train one "
            "run at a time without -m"
        )


def check_analysis(config: DictConfig) -> None:
    """Raises where no analysis was chosen, or what it does not read."""
    if "analysis" not in config:
        names = ", ".join(choices("analysis"))
        raise ValueError(
            f"choose an analysis: python analyze.py analysis=NAME, NAME one of {names}"
        )
    name, chosen = config.analysis.name, HydraConfig.get().runtime.choices
    reads_runs = asks_for_runs(config)
    if chosen["trainer"] != "cpu" and not (reads_runs and "callback" in config.analysis):
        raise ValueError(
            f"trainer={chosen['trainer']}: analysis={name} works in one process on the CPU; "
            "leave it out"
        )
    if reads_runs and "without_runs" in config.analysis and "_target_" in config.data:
        raise ValueError(
            f"data={chosen['data']}: a run brings its own data; leave it out, or give weights=FILE"
        )
    given = [o for o in HydraConfig.get().overrides.task if o.startswith("runs=")]
    if given and not reads_runs:
        raise ValueError(f"{given[0]}: analysis={name} looks into no run here; leave it out")


def asks_for_runs(config: DictConfig) -> bool:
    """Whether an analysis is of finished runs, rather than of weights or of nothing trained."""
    of_weights = "weights" in config and config.weights is not None
    return "report" in config.analysis and not of_weights


def quote_numbers(arguments: list[str]) -> list[str]:
    """`precision=32` as `precision='32'`: Hydra takes the choice of a group as a word only."""
    return [
        re.sub(r"(?<=[=,])(\d+)(?=,|$)", r"'\1'", a) if a.startswith("precision=") else a
        for a in arguments
    ]


def choices(group: str) -> list[str]:
    """The names that a group of the configuration offers."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _unknown_choice(text: str) -> str:
    match = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if match is None:
        return " ".join(text.split())
    group, name = match.groups()
    return f"{group}={name!r} is not one of {', '.join(choices(group)) or 'none'}"


def _unknown_key(key: str) -> str:
    arguments = [a for a in sys.argv[1:] if "=" in a and not a.startswith(("-", "hydra"))]
    if swept := [a for a in arguments if a.startswith(("model=", "data=")) and "," in a]:
        return (
            f"{key!r} is known to each of {swept[0]} but not to the sweep, which begins without "
            f"one: write it as ++{key}=VALUE"
        )
    kept = [a for a in arguments if a.lstrip("+~").split("=")[0] != key]
    chosen = " ".join(
        a for a in kept if a.startswith(("model=", "data=", "experiment=", "analysis="))
    )
    try:
        keys = _keys(_compose(kept))
    except Exception:  # another argument is wrong too, and the next try will say so
        keys = []
    near = get_close_matches(key, keys, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    if not chosen:
        return f"{key!r} is a key of no choice so far: choose a model first, such as model=shl_cnn"
    return (
        f"{key!r} is no key of this configuration ({chosen}): {hint}"
        f"see all keys with: python {sys.argv[0]} {chosen} --cfg job"
    )


def _compose(arguments: list[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(Path(sys.argv[0]).stem, arguments)


def _keys(config: DictConfig) -> list[str]:
    tree: Any = OmegaConf.to_container(config)

    def walk(node: Any, prefix: str) -> Iterator[str]:
        for key, value in node.items():
            yield prefix + key
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")

    return list(walk(tree, ""))


def _system_error(error: OSError) -> str:
    remedy = REMEDIES.get(error.strerror or "", "")
    return f"{error.filename or 'a file'}: {error.strerror}" + (f"; {remedy}" if remedy else "")
