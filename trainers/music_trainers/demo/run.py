"""`run_demo`: the paper in miniature on the sandbox; nothing in it assumes what comes out."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from rich.console import Console

from music.pairs import PreferencePair
from music.preferences import write_preferences
from music.report import write_report
from music.reward import RewardModel, length_reward, random_reward
from music.sandbox import oracle_score, seed_pairs
from music.sandbox.artifacts import REWARD_MODEL
from music.statistics import accuracy
from music_trainers.demo.arms import Arm, train_arms
from music_trainers.demo.findings import PREFIX_MEAN, accuracies, best_of_n_rows, findings
from music_trainers.demo.pairs import simulate_arms
from music_trainers.demo.records import DemoConfig, DemoResult
from music_trainers.demo.report import REPORT_NAME, demo_report
from music_trainers.miniature.measures import Measures, TestSets, draw_test_sets, measure, single_turn_margins

__all__ = ["run_demo"]

RESULT_NAME = "demo.json"


def run_demo(config: DemoConfig, console: Console) -> DemoResult:
    """Simulate, train three arms, measure; write `demo.json` and the report.

    Args:
        config: Sizes, seed and folder.
        console: Where progress goes.

    Raises:
        InvalidInputError: The folder holds the pairs of a demo with other settings.
    """
    clock: dict[str, float] = {}
    with _phase(console, clock, "simulate pairs over HTTP"):
        contrastive, num_calls = asyncio.run(simulate_arms(config))
        base = _saved(config, contrastive)
    with _phase(console, clock, "draw test sets and measure the controls"):
        sets = draw_test_sets(config.sizes, config.seed)
        start = RewardModel.from_pretrained(REWARD_MODEL)
        single_turn = {"start": single_turn_margins(start, sets)}
        controls = _controls(config, sets)
    arms: list[Arm] = []
    with _phase(console, clock, "train and measure the reward models"):
        for arm in train_arms(config, base, contrastive, sets):
            arms.append(arm)
            console.print(f"  {arm.trained.name}: {arm.trained.num_steps} steps in {arm.trained.seconds:.0f} s")
    arms.sort(key=lambda arm: list(contrastive).index(arm.trained.name))
    models = _by_model(arms)
    rows = best_of_n_rows({**models, **controls})
    single_turn |= {arm.trained.name: arm.measures.single_turn for arm in arms}
    result = DemoResult(
        config=config,
        arms=[arm.trained for arm in arms],
        defects=accuracies(models),
        single_turn={name: accuracy(margins, [0.0] * len(margins)) for name, margins in single_turn.items()},
        best_of_n=rows,
        findings=findings(models, rows),
        num_calls=num_calls,
        seconds=clock,
        versions={name: version(name) for name in ("music-rm", "torch", "transformers", "langgraph")},
    )
    (config.out / RESULT_NAME).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_report(demo_report(result), config.out / REPORT_NAME)
    return result


@contextmanager
def _phase(console: Console, clock: dict[str, float], name: str) -> Iterator[None]:
    """Announce a phase and take its time."""
    console.print(f"{name} ...", highlight=False)
    began = time.perf_counter()
    yield
    clock[name] = time.perf_counter() - began
    console.print(f"{name}: {clock[name]:.0f} s", highlight=False)


def _saved(config: DemoConfig, contrastive: Mapping[str, Sequence[PreferencePair]]) -> list[PreferencePair]:
    """Draw the base pairs and write what each arm trains on, for `music train`."""
    base = seed_pairs(config.sizes.num_base_pairs, config.seed + 1)
    for name, pairs in {"base": base, **contrastive}.items():
        write_preferences(pairs, config.out / "pairs" / f"{name}.parquet")
    return base


def _controls(config: DemoConfig, sets: TestSets) -> dict[str, Measures]:
    """Measure the selectors that are no reward models."""
    controls = {"random": random_reward(config.seed), "longest": length_reward, "oracle": oracle_score}
    return {name: measure(reward, sets, config.seed, pairs=False) for name, reward in controls.items()}


def _by_model(arms: Sequence[Arm]) -> dict[str, Measures]:
    """Return the measures of all reward models, the training-free control behind the model it is made of."""
    models: dict[str, Measures] = {}
    for arm in arms:
        models[arm.trained.name] = arm.measures
        if arm.prefix_mean is not None:
            models[PREFIX_MEAN] = arm.prefix_mean
    return models
