"""Scoring candidates of one history on the CPU: `python -m benchmarks.reward_scoring [--quick] [--out FIGURE.html]`.

Prints Markdown: candidates per second of N forward passes, of one padded batch (both by transformers), and of packed
rows that hold the history once; then the gain by the history's share of the tokens, which `--out` also draws. All ways
alternate on the same tokens in one process. All times are CPU seconds.
"""

import argparse
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.reward_models import FAMILIES, Timing, draw_ids, interleave, make_classifier, pad, setup
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer, row_tokens
from music.reward.scoring.sequence_scorer import SequenceScorer

HISTORY_TOKENS = 1_024
COMPLETION_TOKENS = (64, 128)
NUMBERS = (4, 16, 64)
CANDIDATE_TOKENS = 640
"""Tokens of history and completion together, in the table over the history's share."""
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
FORWARDS, PADDED, PACKED, UNSHARED = "N forwards", "padded batch", "packed, history once", "packed, not shared"


@dataclass(frozen=True, slots=True)
class Gain:
    """Candidates of one history.

    Attributes:
        share: The history's share of the tokens.
        num_tokens: Tokens of all candidates with their histories, divided by stored tokens: the largest possible gain.
        timings: Timing of each way.
    """

    share: float
    num_tokens: float
    timings: dict[str, Timing]


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one family, fewer rows, two rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="more only where no one else uses the machine")
    parser.add_argument("--out", type=Path, help="HTML file for the figure of the gain over the history's share")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rounds = 2 if options.quick else options.rounds
    print(setup(), end="\n\n")
    for family in FAMILIES[:1] if options.quick else FAMILIES:
        print(f"{family}: a history of {HISTORY_TOKENS} tokens, completions of {COMPLETION_TOKENS[0]} to", end=" ")
        print(f"{COMPLETION_TOKENS[1]} tokens\n")
        print("\n".join(render_numbers(family, NUMBERS[:2] if options.quick else NUMBERS, rounds)), end="\n\n")
    gains = [measure_share(share, rounds) for share in (SHARES[::3] if options.quick else SHARES)]
    print("\n".join(render_gains(gains)))
    if options.out:
        draw(gains, options.out)


def render_numbers(family: str, numbers: Sequence[int], num_rounds: int) -> Iterator[str]:
    """Yield the table over the number of candidates."""
    rng = random.Random(0)
    history = draw_ids(rng, HISTORY_TOKENS)
    yield "| N | way | candidates/s | rounds | x padded batch | x N forwards |"
    yield "|---|---|---|---|---|---|"
    for number in numbers:
        candidates = [history + draw_ids(rng, rng.randint(*COMPLETION_TOKENS)) for _ in range(number)]
        timings = interleave(ways(family, candidates), num_rounds)
        for name in (FORWARDS, PADDED, PACKED):
            ratios = " | ".join(f"{timings[name].times_faster(timings[other]):.2f}" for other in (PADDED, FORWARDS))
            yield f"| {number} | {name} | {timings[name].rate(number)} | {ratios} |"


def measure_share(share: float, num_rounds: int) -> Gain:
    """Time 16 candidates of equal length, with the history as a given share of their tokens."""
    rng = random.Random(0)
    history = draw_ids(rng, round(share * CANDIDATE_TOKENS))
    candidates = [history + draw_ids(rng, CANDIDATE_TOKENS - len(history)) for _ in range(16)]
    plan = plan_rows([sequences(candidates)], max_tokens=1)
    timings = interleave(ways(FAMILIES[0], candidates), num_rounds)
    return Gain(share, plan.num_sequence_tokens / plan.num_tokens, timings)


def ways(family: str, candidates: Sequence[Sequence[int]]) -> Mapping[str, Callable[[], Tensor]]:
    """Return the ways to score candidates, each with its own model; all must agree."""
    plain, scorer = make_classifier(family).train(False), PackedScorer(make_classifier(family)).eval()
    group = sequences(candidates)
    found: dict[str, Callable[[], Tensor]] = {
        FORWARDS: lambda: torch.cat([padded_rewards(plain, [ids]) for ids in candidates]),
        PADDED: lambda: padded_rewards(plain, candidates),
        PACKED: lambda: packed_rewards(scorer, group),
        UNSHARED: lambda: unshared_rewards(scorer, group),
    }
    expected = found[FORWARDS]()
    for way in found.values():
        torch.testing.assert_close(way(), expected, atol=1e-4, rtol=1e-4)
    return found


def sequences(candidates: Sequence[Sequence[int]]) -> list[TokenSequence]:
    """Return the sequences for the planner."""
    return [TokenSequence.read_at_end(ids) for ids in candidates]


@torch.no_grad()
def padded_rewards(model: PreTrainedModel, candidates: Sequence[Sequence[int]]) -> Tensor:
    """Return the rewards from transformers' own forward pass."""
    logits: Tensor = model(**pad(candidates), use_cache=False).logits
    return logits.squeeze(-1)


def packed_rewards(scorer: PackedScorer, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return the rewards as `RewardModel` computes them; grouping and planning are part of the time."""
    return torch.tensor([reward for (reward,) in SequenceScorer(scorer).rewards(sequences)])


@torch.no_grad()
def unshared_rewards(scorer: PackedScorer, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return the same rewards from packed rows in which every sequence is whole."""
    rewards = torch.empty(len(sequences))
    for row in plan_rows([[sequence] for sequence in sequences], row_tokens(torch.device("cpu"))).rows:
        rewards[list(row.groups)] = scorer(row)
    return rewards


def render_gains(gains: Sequence[Gain]) -> Iterator[str]:
    """Yield the table over the history's share."""
    yield f"{FAMILIES[0]}: 16 candidates of {CANDIDATE_TOKENS} tokens, history and completion together"
    yield ""
    yield "| history's share | tokens saved, x | x padded batch | x N forwards | x packed rows that share nothing |"
    yield "|---|---|---|---|---|"
    for gain in gains:
        over = (gain.timings[PACKED].times_faster(gain.timings[other]) for other in (PADDED, FORWARDS, UNSHARED))
        yield f"| {gain.share:g} | {gain.num_tokens:.2f} | {' | '.join(f'{ratio:.2f}' for ratio in over)} |"


def draw(gains: Sequence[Gain], out: Path) -> None:
    """Write the gain over the history's share as a report."""
    from music.report import Palette, Point, Report, curves, write_report
    from music.statistics import Estimate

    ratios = {"tokens saved": [gain.num_tokens for gain in gains]}
    for other in (PADDED, FORWARDS, UNSHARED):
        ratios[f"over {other}"] = [gain.timings[PACKED].times_faster(gain.timings[other]) for gain in gains]
    points = [
        Point(place=gain.share, estimate=Estimate(ratio, -math.inf, math.inf, 1), series=name)
        for name, found in ratios.items()
        for gain, ratio in zip(gains, found, strict=True)
    ]
    title, x, y = "16 candidates, history once", "history's share of the tokens", "times as fast"
    plot = curves(points, title=title, caption=f"{y}, over the {x}.", x=x, y=y, palette=Palette(list(ratios)))
    write_report(Report(title="Packed scoring", intro=FAMILIES[0], parts=[plot]), out)


if __name__ == "__main__":
    main()
