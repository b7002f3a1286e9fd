"""Reward-model scoring in whole runs of Best-of-N on the CPU: `python -m benchmarks.best_of_n [--quick]`.

Prints Markdown. The first table has the starting reward model and the sandbox's seeds: the tokens that a run computes,
divided by those of an ideal that computes each prefix of a conversation once, and its CPU seconds with tokenizing. The
run is measured without a cache, with a cache, and with a `RewardSession` for each conversation. The second table has
random models and conversations with histories, scored as in `greedy` or as in an environment with rewards per turn. All
ways alternate on the same tokens in one process, with a new cache in each round.
"""

import argparse
import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

import torch

from benchmarks.reward_models import FAMILIES, draw_ids, interleave, make_classifier, setup
from music.conversation import Conversation
from music.reward import RewardModel
from music.reward.packing import TokenSequence
from music.reward.scoring.cached_scorer import make_sequence_scorer
from music.reward.scoring.forward import PackedScorer
from music.sandbox.artifacts import REWARD_MODEL
from music.sandbox.model import SandboxModel
from music_envs import Anytime, Beam, BestOfNConfig, Greedy, Strategy, Whole, load_prompts, run_best_of_n

NUM_CANDIDATES, NUM_TURNS = 8, 3
STRATEGIES: dict[str, Strategy] = {
    "greedy": Greedy(),
    "anytime, rounds of 1, margin 3": Anytime(margin=3.0),
    "beam, width 2": Beam(width=2),
    "whole": Whole(),
}
PLAIN, CACHED, SESSIONS = "no cache", "prefix cache", "a session for each"
COMPLETION_TOKENS = (64, 128)
USER_TOKENS = 40
CACHE = 100_000
"""Tokens that the random models' cache may hold: all."""

Scorings = Sequence[Sequence[TokenSequence]]


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer conversations, one family, two rounds")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds, num = (2, 40) if options.quick else (options.rounds, 200)
    print(setup(), end="\n\n")
    print(f"The starting reward model, {num} seeds of the sandbox, N = {NUM_CANDIDATES}, {NUM_TURNS} turns\n")
    print("\n".join(render_runs(num, rounds)), end="\n\n")
    print("Random models, 4 conversations, completions of 64 to 128 tokens; N = 1 is a reward after every turn\n")
    print("\n".join(render_histories(FAMILIES[:1] if options.quick else FAMILIES, rounds)))


def render_runs(num_seeds: int, num_rounds: int) -> Iterator[str]:
    """Yield the table of whole runs."""
    model = RewardModel.from_pretrained(REWARD_MODEL, device="cpu")
    yield "| mode | way | tokens of the ideal | CPU seconds | rounds |"
    yield "|---|---|---|---|---|"
    for name, strategy in STRATEGIES.items():
        asked = record(model, strategy, num_seeds)
        ideal = num_distinct([[e.sequence for e in model.tokens.encode_all(each)] for each in asked])
        ways = {PLAIN: partial(score_all, model, asked), CACHED: partial(score_cached, model, asked)}
        if name == "greedy":
            ways[SESSIONS] = partial(score_in_sessions, model, asked)
        yield from rows(name, ways, ideal, model._classifier.get_input_embeddings(), num_rounds)


def render_histories(families: Sequence[str], num_rounds: int) -> Iterator[str]:
    """Yield the table over the history's length."""
    yield "| model, history, N x turns | way | tokens of the ideal | CPU seconds | rounds |"
    yield "|---|---|---|---|---|"
    for family in families:
        scorer = PackedScorer(make_classifier(family)).eval()
        for history, number, turns in (
            (100, NUM_CANDIDATES, NUM_TURNS),
            (1_000, NUM_CANDIDATES, NUM_TURNS),
            (1_000, 1, 8),
        ):
            scorings = grow(history, number, turns)
            ways = {
                PLAIN: partial(score_grown, scorer, scorings, 0),
                CACHED: partial(score_grown, scorer, scorings, CACHE),
            }
            embeddings = scorer.classifier.get_input_embeddings()
            yield from rows(
                f"{family}, {history}, {number} x {turns}", ways, num_distinct(scorings), embeddings, num_rounds
            )


def rows(
    name: str, ways: Mapping[str, Callable[[], object]], ideal: int, embeddings: torch.nn.Module, num_rounds: int
) -> Iterator[str]:
    """Yield a row for each way to score."""
    counts: list[int] = []
    hook = embeddings.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].numel()))
    num_tokens = {}
    for way, run in ways.items():
        counts.clear()
        run()
        num_tokens[way] = sum(counts)
    hook.remove()
    for way, timing in interleave(ways, num_rounds).items():
        span = f"{min(timing.seconds):.2f}-{max(timing.seconds):.2f}"
        yield f"| {name} | {way} | {num_tokens[way] / ideal:.3f} | {timing.median:.2f} | {span} |"


def record(model: RewardModel, strategy: Strategy, num_seeds: int) -> list[list[Conversation]]:
    """Return the conversations of each scoring of a run."""
    asked: list[list[Conversation]] = []

    def reward(conversations: Sequence[Conversation]) -> list[float]:
        asked.append(list(conversations))
        return model.score(conversations)

    run = run_best_of_n(
        load_prompts("sandbox", num_seeds),
        assistant=SandboxModel("fair"),
        user=SandboxModel(),
        reward=reward,
        config=BestOfNConfig(num_candidates=NUM_CANDIDATES, num_turns=NUM_TURNS, seed=1),
        strategy=strategy,
    )
    asyncio.run(run)
    return asked


def num_distinct(scorings: Scorings) -> int:
    """Return the number of distinct prefixes of sequences; each needs one computed token."""
    whole = {tuple(sequence.ids) for scoring in scorings for sequence in scoring}
    return len({ids[:end] for ids in whole for end in range(1, len(ids) + 1)})


def score_all(model: RewardModel, asked: Sequence[Sequence[Conversation]]) -> None:
    """Score the conversations of a run."""
    for conversations in asked:
        model.score(conversations)


def score_cached(model: RewardModel, asked: Sequence[Sequence[Conversation]]) -> None:
    """Score the same with a new cache."""
    score_all(model.with_prefix_cache(), asked)


def score_in_sessions(model: RewardModel, asked: Sequence[Sequence[Conversation]]) -> None:
    """Score the same, with a session for each conversation."""
    by_seed = [[list(pool) for _, pool in groupby(turn, lambda c: c.messages[:-1])] for turn in asked]
    for pools in zip(*by_seed, strict=True):
        session = model.session(Conversation(messages=pools[0][0].messages[:-1]))
        for pool, following in zip(pools, [*pools[1:], None], strict=True):
            session.score_candidates([candidate.messages[-1].content for candidate in pool])
            if following is not None:
                reply, user = following[0].messages[-3:-1]
                session.extend(reply.content, user.content)


def grow(num_tokens: int, number: int, num_turns: int, num_conversations: int = 4) -> list[list[TokenSequence]]:
    """Return the scorings of conversations that continue from one of several candidates, turn by turn."""
    rng = random.Random(0)
    histories, scorings = [draw_ids(rng, num_tokens) for _ in range(num_conversations)], []
    for _ in range(num_turns):
        pools = [[h + draw_ids(rng, rng.randint(*COMPLETION_TOKENS)) for _ in range(number)] for h in histories]
        histories = [rng.choice(pool) + draw_ids(rng, USER_TOKENS) for pool in pools]
        scorings.append([TokenSequence.read_at_end(ids) for pool in pools for ids in pool])
    return scorings


def score_grown(scorer: PackedScorer, scorings: Scorings, max_cached_tokens: int) -> None:
    """Score the conversations that a run would score."""
    sequences = make_sequence_scorer(scorer, max_cached_tokens)
    for scoring in scorings:
        sequences.rewards(scoring)


if __name__ == "__main__":
    main()
