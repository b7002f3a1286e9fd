"""The cost of an evaluation besides the model: `python -m benchmarks.evaluation [--quick] [--files FILE...]`.

Prints Markdown: the time to score items, compared with the time of the forward passes in it and with the time without
shared prefixes; then the time to compute the figures of every benchmark. Without `--files` (of RM-Bench), items are
random, with completions as long as RM-Bench's. All times are CPU seconds.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from transformers import PreTrainedModel

import music.sandbox
from benchmarks.evaluation_rows import WORDS, draw_items
from benchmarks.reward_models import FAMILIES, Timing, interleave, make_classifier, setup
from music.conversation import Conversation
from music.evaluation.benchmarks.registry import load_benchmark, read_benchmark
from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.scoring import ScoredModel, score_items
from music.reward import ConversationTokenizer, RewardModel
from music.reward.loading import load_checkpoint

RM_BENCH = "rm_bench"
BENCHMARKS = ("rewardbench", "rewardbench2", RM_BENCH, "judgebench", "rmb", "ppe", "mt_bench", "preferences")
MAX_OVERHEAD, MAX_SECONDS, NUM_ROWS = 1.15, 2.0, 100_000
SHARED, APART = "completions of a prompt together", "each completion apart"
STYLES = (180, 1_500, 1_700)
"""Characters of RM-Bench's completions: concise, detailed, detailed with markdown."""


@dataclass(slots=True)
class Forwards:
    """The cost of a model's forward passes.

    Attributes:
        seconds: CPU seconds.
        num_tokens: Computed tokens.
    """

    seconds: float = 0.0
    num_tokens: int = 0
    _began: float = field(default=0.0, repr=False)

    @contextmanager
    def of(self, classifier: PreTrainedModel) -> Iterator["Forwards"]:
        """Measure the passes through a classifier's backbone."""
        backbone = classifier.base_model
        hooks = [
            backbone.register_forward_pre_hook(self._begin, with_kwargs=True),
            backbone.register_forward_hook(self._end),
        ]
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _begin(self, _: object, __: object, inputs: dict[str, torch.Tensor]) -> None:
        self.num_tokens += inputs["input_ids"].numel()
        self._began = time.process_time()

    def _end(self, *_: object) -> None:
        self.seconds += time.process_time() - self._began


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of scoring items.

    Attributes:
        num_tokens: Tokens of all conversations.
        num_computed: Tokens that the model computes.
        overhead: Time of scoring divided by the time of its forward passes, the median of the rounds.
        timings: Timings with and without shared prefixes.
    """

    num_tokens: int
    num_computed: int
    overhead: float
    timings: dict[str, Timing]


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer items and rows, two rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-prompts", type=int, default=32)
    parser.add_argument("--files", nargs="*", default=[], help="of RM-Bench, in place of random items")
    options = parser.parse_args()
    torch.set_num_threads(1)
    num_prompts, rounds = (8, 2) if options.quick else (options.num_prompts, options.rounds)
    print(setup(), end="\n\n")
    print("\n".join(render_scoring(_item_sets(options.files, num_prompts), rounds)), end="\n\n")
    print("\n".join(render_figures(NUM_ROWS // 10 if options.quick else NUM_ROWS)))


def _item_sets(files: Sequence[str], num_prompts: int) -> dict[str, ItemSet]:
    if not files:
        return {f"prompts of {size:,} characters": draw_styles(num_prompts, size) for size in (100, 500, 2_000)}
    benchmark = load_benchmark(RM_BENCH)
    return {Path(file).stem: read_benchmark(benchmark, [file]).draw_prompts(num_prompts) for file in files}


def draw_styles(num: int, prompt_characters: int) -> ItemSet:
    """Draw items of six completions each, as long as RM-Bench's."""
    rng = random.Random(0)
    items = []
    for number in range(num):
        prompt = Conversation().user(f"{number} {_draw_text(rng, prompt_characters)}")
        completions = tuple(prompt.assistant(_draw_text(rng, size)) for _ in range(2) for size in STYLES)
        items.append(Item(id=str(number), subset="", completions=completions, labels=(1, 1, 1, 0, 0, 0), prompt_id=""))
    return ItemSet(RM_BENCH, tuple(items))


def _draw_text(rng: random.Random, num_characters: int) -> str:
    return " ".join(rng.choices(WORDS, k=round(num_characters * rng.uniform(0.5, 1.5) / 5) + 1))


def _only(item: Item, place: int) -> Item:
    return replace(item, completions=item.completions[place : place + 1], labels=item.labels[place : place + 1])


def render_scoring(item_sets: dict[str, ItemSet], num_rounds: int) -> Iterator[str]:
    """Yield the table over item sets."""
    yield "| items | tokens | of them computed | tokens/s | rounds | time, x forward passes | time, x each apart |"
    yield "|---|---|---|---|---|---|---|"
    checkpoint = Path(music.sandbox.__file__).parent / "artifacts" / "reward_model"  # its tokenizer knows any text
    tokens = load_checkpoint(checkpoint, dtype=torch.float32).tokens.with_contract(max_length=4_096)
    for name, items in item_sets.items():
        cost = measure(items, tokens, num_rounds)
        apart = cost.timings[APART].times_faster(cost.timings[SHARED])
        yield (
            f"| {name} | {cost.num_tokens:,} | {cost.num_computed / cost.num_tokens:.0%} "
            f"| {cost.timings[SHARED].rate(cost.num_tokens)} | {cost.overhead:.3f} | {apart:.2f} |"
        )
    yield ""
    yield f"Target: {MAX_OVERHEAD} times the forward passes."


def measure(items: ItemSet, tokens: ConversationTokenizer, num_rounds: int) -> Cost:
    """Score items repeatedly, with all completions together and one by one."""
    classifier = make_classifier(FAMILIES[0])
    scored_model = ScoredModel(name="benchmark", reward=RewardModel(classifier, tokens, "cpu"))
    sets = [replace(items, items=tuple(_only(item, place) for item in items.items)) for place in range(2 * len(STYLES))]
    passes: list[Forwards] = []

    def together(path: Path) -> None:
        with Forwards().of(classifier) as forwards:
            score_items(items, scored_model, path)
        passes.append(forwards)

    def apart(path: Path) -> None:
        for each in sets:
            score_items(each, scored_model, path)
            path.unlink()

    with tempfile.TemporaryDirectory() as folder:
        ways = {SHARED: lambda: together(Path(folder, "shared")), APART: lambda: apart(Path(folder, "apart"))}
        timings = interleave(ways, num_rounds)
    rounds = zip(timings[SHARED].seconds, passes[1:], strict=True)  # the first one was to warm up
    return Cost(
        num_tokens=sum(len(e.ids) for item in items.items for e in tokens.encode_all(item.completions)),
        num_computed=passes[0].num_tokens,
        overhead=median(seconds / forwards.seconds for seconds, forwards in rounds),
        timings=timings,
    )


def render_figures(num_rows: int) -> Iterator[str]:
    """Yield the table of the time to compute figures."""
    yield f"| figures of {num_rows:,} rows | scores | figures | s |"
    yield "|---|---|---|---|"
    rng = np.random.default_rng(0)
    for name in BENCHMARKS:
        benchmark, items = draw_items(name, num_rows)
        scores = {item.id: rng.normal(size=len(item.completions)).tolist() for item in items}
        began = time.process_time()
        num = len(benchmark.figures(items, scores))
        seconds = time.process_time() - began
        yield f"| {name} | {sum(map(len, scores.values())):,} | {num} | {seconds:.2f} |"
    yield ""
    yield f"Target: {MAX_SECONDS:g} s."


if __name__ == "__main__":
    main()
