"""Random rows of every benchmark, with the right schema, in any number."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from music.evaluation.benchmarks import rewardbench2
from music.evaluation.benchmarks.ppe_correctness import SETS
from music.evaluation.benchmarks.registry import load_benchmark
from music.evaluation.benchmarks.rewardbench import SECTIONS
from music.evaluation.benchmarks.types import Benchmark, Item
from music.preferences.sources import Row

__all__ = ["WORDS", "draw_items"]

TEXT = "a walk plan for the old town and then some tea with bread or fruit in good weather is what we take along"
WORDS = TEXT.split()
NUM_COMPLETIONS = 32
"""Of a row of PPE's correctness sets."""

Fields = dict[str, Any]


def draw_items(name: str, num: int) -> tuple[Benchmark, list[Item]]:
    """Return a benchmark, and the items of about `num` rows of it."""
    benchmark, rng = load_benchmark(name), random.Random(0)
    rows = (Row(file, "row", number, fields) for number, (file, fields) in enumerate(_MAKERS[name](num, rng), start=1))
    return benchmark, [item for row in rows for item in benchmark.read(row)]


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=4))


def _rewardbench(num: int, rng: random.Random) -> Iterator[tuple[str, Fields]]:
    subsets = [subset for section in SECTIONS.values() for subset in section]
    for n in range(num):
        sides = {"chosen": f"yes {_text(rng)}", "rejected": f"no {_text(rng)}"}
        yield "filtered.parquet", {"id": n, "subset": rng.choice(subsets), "prompt": f"{_text(rng)} {n}"} | sides


def _rewardbench2(num: int, rng: random.Random) -> Iterator[tuple[str, Fields]]:
    """Return rows of the plain subsets (four fifths) and of Ties (one fifth)."""
    plain = [subset for subset in rewardbench2.SUBSETS if subset != rewardbench2.TIES]
    wrong = ["no", "never", "not at all"]
    for n in range(num * 4 // 5):
        row = {"id": n, "subset": rng.choice(plain), "prompt": f"{_text(rng)} {n}"}
        yield "v2.parquet", row | {"chosen": ["yes"], "rejected": wrong}
    for n in range(num // 10):
        row = {"subset": rewardbench2.TIES, "prompt": f"color {n}", "rejected": wrong}
        yield "v2.parquet", row | {"id": f"ref:{n}", "chosen": ["red"]}
        yield "v2.parquet", row | {"id": f"tied:{n}", "chosen": ["red", "blue", "green"]}


def _rm_bench(num: int, rng: random.Random) -> Iterator[tuple[str, Fields]]:
    styles = [" in short", " at length, point by point", " at length, **point by point**"]
    for n in range(num):
        file = ("chat", "code", "math", "safety-refuse", "safety-response")[n % 5]
        sides = {side: [f"{word}{style}" for style in styles] for side, word in (("chosen", "yes"), ("rejected", "no"))}
        yield f"{file}_filtered.json", {"id": n, "prompt": f"{_text(rng)} {n}"} | sides


def _judgebench(num: int, rng: random.Random) -> Iterator[tuple[str, Fields]]:
    for n in range(num):
        source = rng.choice(["mmlu-pro-law", "livebench-math", "livebench-reasoning", "livecodebench"])
        row = {"pair_id": str(n), "source": source, "question": f"{_text(rng)} {n}", "response_model": "gpt-4o"}
        yield "gpt.jsonl", row | {"response_A": "yes", "response_B": "no", "label": rng.choice(["A>B", "B>A"])}


def _rmb(num: int, rng: random.Random) -> Iterator[tuple[str, Fields]]:
    """Return pairs (one half) and best-of-N sets (the other half)."""
    for n in range(num):
        goal = rng.choice(["Helpfulness/Code/Debugging", "Harmlessness/S1", "Helpfulness/Chat/Casual"])
        prompt = [{"role": "user", "content": f"{_text(rng)} {n}"}]
        answers = [{"llm_name": "m", "answer": text} for text in ("yes", "no", "never", "not at all")]
        row: Fields = {"conversation_input": prompt, "category_path": f"set/{goal}"}
        if n % 2:
            yield "pairs.json", row | {"pair_uid": str(n), "chosen": answers[0], "reject": answers[1]}
        else:
            yield "bon.json", row | {"bon_uid": str(n), "bon_best": answers[0], "loser_list": answers[1:]}


def _ppe(num: int, rng: random.Random) -> Iterator[tuple[str, Fields]]:
    """Return votes and a few sets of 32 completions each, which need as many scores as the votes."""
    for n in range(num):
        row: Fields = {
            "question_id": f"v{n}",
            "winner": rng.choice(["model_a", "model_b"]),
            "prompt": f"{_text(rng)} {n}",
        }
        flags = {"hard_prompt": rng.random() < 0.3, "is_code": rng.random() < 0.2, "longer_won": rng.random() < 0.6}
        yield "human.parquet", row | flags | {"response_1": "yes", "response_2": "no"}
    for n in range(num // NUM_COMPLETIONS):
        labels = [True, False, *(rng.random() < 0.5 for _ in range(NUM_COMPLETIONS - 2))]
        row = {"question_id": f"c{n}", "prompt": f"{_text(rng)} c{n}", "model_name": "m", "scores": labels}
        texts = {f"response_{k}": f"yes {k}" for k in range(1, NUM_COMPLETIONS + 1)}
        yield f"{list(SETS.values())[n % len(SETS)]}.parquet", row | texts | {"sampled_conflict_pairs": [[0, 1]] * 5}


def _mt_bench(num: int, rng: random.Random) -> Iterator[tuple[str, Fields]]:
    for n in range(num):
        turn = rng.choice([1, 2])
        users = [{"role": "user", "content": f"{_text(rng)} {k}"} for k in range(2)]
        sides = {f"conversation_{side}": _replied(users, f"{side} {n}") for side in "ab"}
        models = {"model_a": f"m{rng.randrange(3)}", "model_b": f"n{rng.randrange(3)}"}
        row = {"question_id": n // 40, "judge": f"expert_{n % 60}", "turn": turn, "winner": rng.choice(list(models))}
        yield "human.parquet", row | models | sides


def _replied(users: list[dict[str, str]], text: str) -> list[dict[str, str]]:
    return [message for user in users for message in (user, {"role": "assistant", "content": text})]


def _preferences(num: int, rng: random.Random) -> Iterator[tuple[str, Fields]]:
    for n in range(num):
        users = [{"role": "user", "content": f"{_text(rng)} {n}"} for _ in range(rng.randint(1, 4))]
        yield "pairs.jsonl", {"chosen": _replied(users, f"yes {_text(rng)}"), "rejected": _replied(users, "no")}


_MAKERS: dict[str, Callable[[int, random.Random], Iterator[tuple[str, Fields]]]] = {
    "rewardbench": _rewardbench,
    "rewardbench2": _rewardbench2,
    "rm_bench": _rm_bench,
    "judgebench": _judgebench,
    "rmb": _rmb,
    "ppe": _ppe,
    "mt_bench": _mt_bench,
    "preferences": _preferences,
}
