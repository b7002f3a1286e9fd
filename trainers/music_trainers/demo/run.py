"""`run_demo`: the paper in miniature on the sandbox."""

import asyncio
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version

from rich.console import Console

from music.files import replace_file
from music.pairs import PreferencePair
from music.preferences import write_preferences
from music.report import write_report
from music.reward import RewardModel
from music.sandbox import seed_pairs
from music.sandbox.artifacts import REWARD_MODEL
from music.statistics import accuracy
from music.viewer.worst import RankedPair, write_worst
from music_trainers.arms import (
    Measures,
    TestSets,
    draw_test_sets,
    last_loss,
    measure_controls,
    measure_readouts,
    single_turn_margins,
    train_arm,
    use_one_thread,
)
from music_trainers.demo.config import DemoConfig
from music_trainers.demo.pairs import ARMS, simulate_arms
from music_trainers.demo.report import REPORT_NAME, demo_report
from music_trainers.demo.results import (
    CONTROL,
    PREFIX_MEAN,
    DemoResult,
    TrainedArm,
    best_of_n_rows,
    defect_accuracies,
    defect_gains,
    describe_results,
)

__all__ = ["run_demo"]

RESULT_NAME = "demo.json"


@dataclass(frozen=True, slots=True)
class MeasuredArm:
    """A trained arm and its measurements.

    Attributes:
        trained: Its training data and training figures.
        measures: The measures of its reward, one number for the whole conversation.
        prefix_mean: The measures of the mean of its rewards over the turns; None except for the last-turn arm.
    """

    trained: TrainedArm
    measures: Measures
    prefix_mean: Measures | None


def run_demo(config: DemoConfig, console: Console) -> DemoResult:
    """Simulate, train three arms, measure; write `demo.json` and the report.

    Args:
        config: Sizes, seed and folder.
        console: Console for progress.

    Raises:
        InvalidInputError: The folder holds the pairs of a demo with other settings.
    """
    seconds: dict[str, float] = {}
    with _phase(console, seconds, "simulate pairs over HTTP"):
        pairs, num_calls = _make_pairs(config)
    with _phase(console, seconds, "draw test sets and measure the controls"):
        sets = draw_test_sets(config.sizes, config.seed)
        start = single_turn_margins(RewardModel.from_pretrained(REWARD_MODEL), sets)
        controls = measure_controls(sets, config.seed)
    with _phase(console, seconds, "train and measure the reward models"):
        arms = _train_arms(config, pairs, sets, console)
    single_turn = {"start": start} | {arm.trained.name: arm.measures.single_turn for arm in arms}
    models = _measures_by_model(arms)
    rows = best_of_n_rows({**models, **controls})
    result = DemoResult(
        config=config,
        arms=[arm.trained for arm in arms],
        defects=defect_accuracies(models),
        gains=defect_gains(models),
        single_turn={name: accuracy(margins, [0.0] * len(margins)) for name, margins in single_turn.items()},
        best_of_n=rows,
        findings=describe_results(models, rows),
        num_calls=num_calls,
        seconds=seconds,
        versions={name: version(name) for name in ("music-rm", "torch", "transformers", "langgraph")},
    )
    _write(result, {name: _ranked(sets, measures) for name, measures in models.items()})
    return result


def _make_pairs(config: DemoConfig) -> tuple[dict[str, list[PreferencePair]], int]:
    """Simulate and write the pairs; return those of each arm, with the base pairs, and the number of calls."""
    contrastive, num_calls = asyncio.run(simulate_arms(config))
    base = seed_pairs(config.sizes.num_base_pairs, config.seed + 1)
    for name, pairs in {"base": base, **contrastive}.items():
        write_preferences(pairs, config.out / "pairs" / f"{name}.parquet")
    return {name: [*base, *pairs] for name, pairs in contrastive.items()}, num_calls


def _measures_by_model(arms: Sequence[MeasuredArm]) -> dict[str, Measures]:
    """Return the measures of each arm, and those of its prefix mean as a model of its own."""
    models: dict[str, Measures] = {}
    for arm in arms:
        models[arm.trained.name] = arm.measures
        if arm.prefix_mean is not None:
            models[PREFIX_MEAN] = arm.prefix_mean
    return models


def _write(result: DemoResult, ranked: Mapping[str, Iterable[RankedPair]]) -> None:
    """Write the result as JSON, and its report with links to the worst-ranked pairs."""
    out = result.config.out
    replace_file(out / RESULT_NAME, result.model_dump_json(indent=2) + "\n")
    report = out / REPORT_NAME
    write_report(replace(demo_report(result), links=write_worst(report, ranked)), report)


def _ranked(sets: TestSets, measures: Measures) -> Iterator[RankedPair]:
    """Yield the pairs with one defect as a model ranks them."""
    for (group, turn), margins in measures.margins.items():
        for defect, margin in zip(sets.defects[group, turn], margins, strict=True):
            pair, source = defect.pair, f"{group} in turn {turn + 1}"
            yield RankedPair(id=pair.id, chosen=pair.chosen, rejected=pair.rejected, margin=margin, source=source)


@contextmanager
def _phase(console: Console, seconds: dict[str, float], name: str) -> Iterator[None]:
    """Print a phase's name, and measure its time."""
    console.print(f"{name} ...", highlight=False)
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began
    console.print(f"{name}: {seconds[name]:.0f} s", highlight=False)


def _train_arms(
    config: DemoConfig, pairs: Mapping[str, list[PreferencePair]], sets: TestSets, console: Console
) -> list[MeasuredArm]:
    """Train and measure all arms at once, each in its own process; return them in the order of `pairs`."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(pairs), mp_context=context, initializer=use_one_thread) as pool:
        futures = [pool.submit(_train_arm, config, name, some, sets) for name, some in pairs.items()]
        for future in as_completed(futures):
            trained = future.result().trained
            console.print(f"  {trained.name}: {trained.num_steps} steps in {trained.seconds:.0f} s")
        return [future.result() for future in futures]


def _train_arm(config: DemoConfig, name: str, pairs: list[PreferencePair], sets: TestSets) -> MeasuredArm:
    """Train one arm and measure it."""
    out = config.out / "models" / name
    result = train_arm(pairs, out, config.seed)
    trained = TrainedArm(
        name=name,
        description=ARMS[name],
        num_pairs=result.pairs.num_used,
        num_steps=result.num_steps,
        num_tokens=result.num_tokens,
        seconds=result.seconds,
        loss=last_loss(result),
    )
    by_readout = measure_readouts(RewardModel.from_pretrained(out), sets, config.seed)
    return MeasuredArm(trained, by_readout["last"], by_readout["turn_mean"] if name == CONTROL else None)
