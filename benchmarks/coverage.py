"""How often the intervals cover the truth and the tests err: `python -m benchmarks.coverage`.

Prints Markdown tables of simulations with a known truth: the methods of `music.statistics` beside those that they
replaced, which are written out here. 95 % is the aim of every coverage, 5 % of every false alarm, 80 % of every power.
"""

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchmarks.contrast_tables import print_row
from music.evaluation.diagnostics.calibration import estimate_squared_error
from music.evaluation.diagnostics.scored_pairs import bins_of
from music.statistics import (
    Component,
    Estimate,
    composite,
    crossed_difference,
    crossed_proportion,
    mean,
    minimum_detectable_effect,
    paired_p_value,
    proportion,
    win_rate,
)

Floats = NDArray[np.float64]
NUM_RESAMPLES = 500


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=200, help="Simulations for each row.")
    num = parser.parse_args().num
    for table in (seeds_and_items, clusters, shares, win_rates, calibration, detectable):
        for row in table(num, np.random.default_rng(0)):
            print_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
        print(flush=True)


def heading(*names: str) -> Iterator[tuple[str, ...]]:
    """Yield the two first rows of a table."""
    yield names
    yield ("---",) * len(names)


def seeds_and_items(num: int, rng: np.random.Generator) -> Iterator[tuple[object, ...]]:
    """False alarms, and power at 2.8 standard errors, of a difference over seeds and conversations."""
    yield from heading("seeds x items", "SD of seeds", "false alarms", "pigeonhole's", "power", "pigeonhole's")
    for num_seeds in (3, 5, 10):
        for seed_spread in (0.0, 0.15, 0.3):
            null = np.zeros((num_seeds, 100))
            effect = 2.8 * math.sqrt(seed_spread**2 / num_seeds + 0.25 / 100 + 1 / null.size)
            tables = [crossed(rng, *null.shape, seed_spread) for _ in range(num)]
            rates = [
                share(test(table + shift) for table in tables)
                for shift in (0.0, effect)
                for test in (lambda t, null=null: crossed_difference(t, null).p_value < 0.05, _pigeonhole_finds(rng))
            ]
            yield f"{num_seeds} x 100", seed_spread, *rates


def clusters(num: int, rng: np.random.Generator) -> Iterator[tuple[object, ...]]:
    """Coverage of a mean over few conversations."""
    yield from heading("conversations of 8 values", "Student's", "percentiles", "composite")
    for num_clusters in (5, 10, 20, 50):
        codes = np.repeat(np.arange(num_clusters), 8)
        tables = [(rng.normal(size=(num_clusters, 1)) + rng.normal(size=(num_clusters, 8))).ravel() for _ in range(num)]
        found = np.array([[each.includes(0.0) for each in _means(table, codes, rng)] for table in tables])
        yield num_clusters, *found.mean(axis=0).tolist()


def shares(num: int, rng: np.random.Generator) -> Iterator[tuple[object, ...]]:
    """Coverage of accuracies near one: pairs of one conversation, and seeds by pairs."""
    yield from heading("design", "accuracy", "Wilson's, effective number", "percentiles")
    for num_clusters, size in ((5, 5), (10, 5), (20, 5), (50, 5)):
        codes = np.repeat(np.arange(num_clusters), size)
        for truth in (0.8, 0.97, 0.99):
            chances = rng.beta(truth * 9, (1 - truth) * 9, (num, num_clusters, 1))
            tables = list((rng.random((num, num_clusters, size)) < chances).astype(float).reshape(num, -1))
            ours = share(proportion(table, clusters=codes).includes(truth) for table in tables)
            theirs = share(percentiles(table, codes, rng).includes(truth) for table in tables)
            yield f"{num_clusters} conversations of {size}", truth, ours, theirs
    for truth in (0.8, 0.97, 0.99):
        chances = np.clip(truth + (1 - truth) / 4 * rng.normal(size=(num, 5, 1)), 0, 1)
        tables = [crossed_hits(rng, row, 100) for row in chances]
        ours = share(crossed_proportion(table).includes(truth) for table in tables)
        yield "5 seeds x 100 pairs", truth, ours, share(pigeonhole(table, rng).includes(truth) for table in tables)


def win_rates(num: int, rng: np.random.Generator) -> Iterator[tuple[object, ...]]:
    """How often a win rate of equals excludes one half, and how often that of a better one covers the truth."""
    yield from heading("conversations", "ties", "false alarms", "percentiles'", "coverage of .8", "percentiles'")
    for size in (4, 8, 20, 100):
        for ties in (0.0, 0.5, 0.9):
            found: list[float] = []
            for rate in (0.5, 0.8):
                win = (1 - ties) * (rate if rate == 0.5 else 0.8)
                truth = win + ties / 2
                tables = rng.choice([1.0, 0.5, 0.0], (num, size), p=[win, ties, 1 - win - ties])
                halves, codes = np.full(size, 0.5), np.arange(size)
                ours = share(win_rate(table, halves).includes(truth) for table in tables)
                theirs = share(percentiles(table, codes, rng).includes(truth) for table in tables)
                found += [1 - ours, 1 - theirs] if rate == 0.5 else [ours, theirs]
            yield size, ties, *found


def calibration(num: int, rng: np.random.Generator) -> Iterator[tuple[object, ...]]:
    """Coverage and mean of the calibration error; the temperature is that of the simulated model."""
    columns = ("pairs", "temperature", "true RMS", "mean", "coverage", "true absolute", "mean", "percentiles' coverage")
    yield from heading(*columns)
    for size in (100, 300, 1000):
        for temperature in (0.5, 1.0, 2.0):
            rows = np.array([_calibration_row(rng, size, temperature) for _ in range(num)])
            yield size, temperature, *rows.mean(axis=0).tolist()


def detectable(num: int, rng: np.random.Generator) -> Iterator[tuple[object, ...]]:
    """Power of a new comparison at the effect that a comparison prints, each with its own test."""
    yield from heading("test", "design", "power at the printed effect", "before: 2.8 SE of the bootstrap")
    for num_seeds in (3, 5, 10):
        null = np.zeros((num_seeds, 100))
        found = [0, 0]
        for _ in range(num):
            first, second = crossed(rng, *null.shape, 0.15), crossed(rng, *null.shape, 0.15)
            effect = crossed_difference(first, null).minimum_detectable
            found[0] += crossed_difference(second + effect, null).p_value < 0.05
            found[1] += not pigeonhole(second + two_point_eight(pigeonhole(first, rng)), rng).includes(0.0)
        yield "seeds and items", f"{num_seeds} seeds x 100", *(each / num for each in found)
    for size in (6, 10, 20, 50):
        found, codes = [0, 0], np.arange(size)
        for _ in range(num):
            first, second = rng.normal(size=(2, size))
            effects = minimum_detectable_effect(mean(first)), two_point_eight(percentiles(first, codes, rng))
            for number, effect in enumerate(effects):
                found[number] += paired_p_value(second + effect, np.zeros(size)) < 0.05
        yield "sign flips", f"{size} conversations", *(each / num for each in found)


def two_point_eight(estimate: Estimate) -> float:
    """Return the effect that was printed before."""
    return 2.8016 * (estimate.high - estimate.low) / (2 * 1.96)


def crossed(rng: np.random.Generator, num_seeds: int, num_items: int, seed_spread: float) -> Floats:
    """Return a table of seeds by conversations: standard deviations `seed_spread`, 0.5 and, of the rest, 1."""
    by_seed, by_item = seed_spread * rng.normal(size=(num_seeds, 1)), 0.5 * rng.normal(size=num_items)
    return by_seed + by_item + rng.normal(size=(num_seeds, num_items))


def crossed_hits(rng: np.random.Generator, chances: Floats, num_items: int) -> Floats:
    """Return hits of seeds with chances of their own, on pairs that are half as hard for all alike."""
    shared, own = rng.random(num_items), rng.random((len(chances), num_items))
    return (np.where(rng.random(num_items) < 0.5, shared, own) < chances).astype(float)


def percentiles(values: Floats, codes: NDArray[np.int64], rng: np.random.Generator) -> Estimate:
    """Return the plain percentile bootstrap over conversations of one size, as before."""
    units = np.bincount(codes, values) / np.bincount(codes)
    means = units[rng.integers(len(units), size=(NUM_RESAMPLES, len(units)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(units.mean()), float(low), float(high), len(units))


def pigeonhole(values: Floats, rng: np.random.Generator) -> Estimate:
    """Return the two-level bootstrap, as before: seeds and items drawn anew, the spread of seeds made Student's."""
    num_seeds, num_items = values.shape
    by_seed = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), NUM_RESAMPLES) / num_seeds
    by_item = rng.multinomial(num_items, np.full(num_items, 1 / num_items), NUM_RESAMPLES) / num_items
    means = ((by_seed @ values) * by_item).sum(axis=1)
    wider = np.sqrt(num_seeds / rng.chisquare(num_seeds - 1, NUM_RESAMPLES)) - 1
    means += wider * (by_seed @ (values.mean(axis=1) - values.mean()))
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high), num_items)


def share(found: Iterator[bool]) -> float:
    """Return how often something is true."""
    return float(np.mean(list(found)))


def _means(values: Floats, codes: NDArray[np.int64], rng: np.random.Generator) -> tuple[Estimate, ...]:
    """Return a mean by three methods."""
    resampled = composite([Component(values, codes)], lambda means: means[:, 0])
    return mean(values, clusters=codes), percentiles(values, codes, rng), resampled


def _pigeonhole_finds(rng: np.random.Generator) -> Callable[[Floats], bool]:
    return lambda table: not pigeonhole(table, rng).includes(0.0)


def _calibration_row(rng: np.random.Generator, size: int, temperature: float) -> tuple[float, ...]:
    """Return one model's true errors, their estimates, and whether the intervals cover them."""
    margins = np.abs(rng.normal(scale=2.0, size=size))
    truth, confidence = expit(margins / temperature), expit(margins)
    gaps = (rng.random(size) < truth).astype(float) - confidence
    bins, codes = bins_of(confidence), np.arange(size)
    weights = np.bincount(bins) / size
    biases = np.bincount(bins, truth - confidence) / size / weights
    squared, absolute = math.sqrt(float(weights @ biases**2)), float(weights @ np.abs(biases))
    ours = estimate_squared_error(gaps, bins, codes)
    parts = [gaps * (bins == number) for number in range(len(weights))]
    totals = rng.multinomial(size, np.full(size, 1 / size), NUM_RESAMPLES) @ np.stack(parts, axis=1) / size
    low, high = np.quantile(np.abs(totals).sum(axis=1), [0.025, 0.975])
    plain = float(np.abs(np.bincount(bins, gaps)).sum()) / size
    covers = float(ours.includes(squared)), float(low <= absolute <= high)
    return squared, ours.value, covers[0], absolute, plain, covers[1]


if __name__ == "__main__":
    main()
