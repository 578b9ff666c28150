"""Which runs are repetitions of the same network of Eguchi et al. 2019."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmrep.runs import read_facts
from mmrep.scores import flat
from mmrep.screen import short
from mmrep.studies.pairs import Networks, finished

FRAMEWORKS = {"MixedInputAutoencoder": "mixed", "TwoStageAutoencoder": "two-stage"}
TWO_STAGE_DEPTH = 4  # three layers for each modality and the one that they share
OF_KIND = ("model.net._target_", "model.net.depth", "data.pairing")
ALIKE = ("trainer.max_epochs", "trainer.precision", "weights")  # besides model and data
ELSEWHERE = (  # change no network
    "data.data_dir",
    "data.source",
    "data.seed",
    "data.steps_per_execution",
    "model.compile",
)


class Kind(NamedTuple):
    """What the paper compares: networks that differ in nothing else but their seed."""

    framework: str  # mixed or two-stage
    depth: int  # layers from the inputs to the shared features
    pairing: str  # of training: consistent or inconsistent

    @property
    def network(self) -> str:
        if self.framework == "two-stage":
            return self.framework
        return f"{self.depth} layer{'s' * (self.depth > 1)}"

    def __str__(self) -> str:
        return f"{self.network}, {self.pairing}"


def networks_of(folders: Sequence[Path]) -> dict[Kind, Networks]:
    """Finished runs by what they are, then by seed; what is not finished is left out and said.

    ValueError: another network, real data beside simulated, one kind and seed twice, or options
    besides kind and seed that differ.
    """
    done = {folder: read_facts(folder) for folder in finished(folders)}
    sources = sorted({facts["data"]["source"] for facts in done.values()})
    networks: dict[Kind, Networks] = {}
    for folder, facts in done.items():
        by_seed = networks.setdefault(kind_of(folder, facts), {})
        if facts["seed"] in by_seed:
            raise ValueError(
                f"{short(by_seed[facts['seed']])} and {short(folder)} are both "
                f"{kind_of(folder, facts)} with seed {facts['seed']}: give one of them"
            )
        by_seed[facts["seed"]] = folder
    if len(sources) > 1:
        raise ValueError(f"the runs are of {' and '.join(sources)} data: give those of one")
    _check_options(networks, done)
    return {kind: dict(sorted(networks[kind].items())) for kind in sorted(networks)}


def kind_of(folder: Path, facts: Mapping[str, Any]) -> Kind:
    config = facts["config"]
    name = config["model"].get("net", {}).get("_target_", "").rpartition(".")[2]
    if name not in FRAMEWORKS:
        raise ValueError(
            f"{short(folder)} is a {name or 'network without a name'}, which is not one of "
            f"{', '.join(FRAMEWORKS)}: choose runs of model=av_mixed or av_two_stage"
        )
    framework = FRAMEWORKS[name]
    depth = config["model"]["net"]["depth"] if framework == "mixed" else TWO_STAGE_DEPTH
    if "pairing" not in config["data"]:
        raise ValueError(
            f"{short(folder)} was trained on {facts['data']['name']}, whose samples are no pairs: "
            "choose runs on data=mnist_fsdd"
        )
    return Kind(framework, depth, config["data"]["pairing"])


def say_missing(networks: Mapping[Kind, Networks], wanted: Iterable[tuple[str, int, str]]) -> None:
    """Which of the paper's networks are not among the runs, and which are there but once."""
    if missing := [str(Kind(*key)) for key in wanted if Kind(*key) not in networks]:
        print(f"no runs of {'; '.join(missing)}: left out")
    if alone := [str(kind) for kind, by_seed in networks.items() if len(by_seed) == 1]:
        print(f"one run, so no test and no deviation: {'; '.join(alone)}")


def _check_options(networks: Mapping[Kind, Networks], facts: Mapping[Path, Any]) -> None:
    """All options must agree among runs of one kind, and among kinds those of data and training."""
    first: dict[tuple[str, str], tuple[Any, Path]] = {}
    for kind, by_seed in networks.items():
        for folder in by_seed.values():
            for key, value in flat(facts[folder]["config"]):
                kept = key.startswith(("model.", "data.")) or key in ALIKE
                if not kept or key in (*OF_KIND, *ELSEWHERE):
                    continue
                if key == "data.inconsistent" and kind.pairing == "consistent":
                    continue  # says nothing of pairs that agree
                of = str(kind) if key.startswith("model.net.") else ""
                there, other = first.setdefault((of, key), (value, folder))
                if value != there:
                    raise ValueError(
                        f"{short(other)} has {key}={there} and {short(folder)} has {key}={value}: "
                        "give runs that differ in nothing but network, pairing and seed"
                    )
