"""What must not move: rows, scores, losses, figures, choices and advantages of small runs under fixed seeds.

The values are in `golden.json` beside this file. The tests run the commands as users do (`python -m music`, in process)
and read the files that the commands write, so they do not know how the packages are laid out inside. Counts, names and
hashes have to be equal; floats are compared within the tolerance of their test.

A change that is meant to move a value records all of them anew, and says in its commit what moved and why:

    MUSIC_RECORD_GOLDEN=1 python -m pytest tests/test_golden.py
"""

import hashlib
import io
import itertools
import json
import logging
import os
import runpy
import sys
import tomllib
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from music.preferences import read_preferences, write_preferences
from music.reward import RewardModel
from music.sandbox.artifacts import BACKBONE, REWARD_MODEL
from music_envs import ChatVectorEnv

FILE = Path(__file__).with_name("golden.json")
RECORDS = bool(os.environ.get("MUSIC_RECORD_GOLDEN"))
COMMANDS = "music.commands"

CONTENT = ("id", "chosen", "rejected", "source", "seed_id", "num_seed_messages", "contrasts", "seed", "persona")
"""The columns of pairs that are hashed."""
WORDS = {"note", "verdict", "warnings"}
"""What is said to people in a result, and may be said otherwise."""


@pytest.fixture(scope="module")
def check():
    """Compare a value with the recorded one of that name, or record it."""
    golden = {} if RECORDS else json.loads(FILE.read_text(encoding="utf-8"))

    def compare(name, value, rel=1e-4, abs=1e-5):
        value = rounded(value)
        if RECORDS:
            golden[name] = value
        else:
            differences = list(differing(value, golden[name], name, rel, abs))
            assert not differences, "\n".join(differences)

    yield compare
    if RECORDS:
        FILE.write_text(one_entry_a_line(golden), encoding="utf-8")


def one_entry_a_line(golden):
    entries = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(golden.items()))
    return f"{{\n{entries}\n}}\n"


def rounded(value):
    """Return a value as JSON keeps it, its floats to six digits."""
    return json.loads(json.dumps(value), parse_float=lambda digits: float(f"{float(digits):.6g}"))


def differing(got, golden, where, rel, abs):
    """Yield a line for each place at which two JSON values differ."""
    if isinstance(got, dict) and isinstance(golden, dict) and got.keys() == golden.keys():
        for key in golden:
            yield from differing(got[key], golden[key], f"{where}.{key}", rel, abs)
    elif isinstance(got, list) and isinstance(golden, list) and len(got) == len(golden):
        for index, (one, other) in enumerate(zip(got, golden, strict=True)):
            yield from differing(one, other, f"{where}[{index}]", rel, abs)
    elif isinstance(got, float) or isinstance(golden, float):
        if got != pytest.approx(golden, rel=rel, abs=abs, nan_ok=True):
            yield f"{where}: expected {golden} within {rel} of it or {abs}, got {got}"
    elif got != golden:
        yield f"{where}: expected {golden}, got {got}"


def music(*arguments):
    """Run a command line with `--json` in this process, and return what it prints."""
    found = metadata.entry_points
    listed = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))
    own = listed["project"]["entry-points"][COMMANDS]
    entries = metadata.EntryPoints(metadata.EntryPoint(name, value, COMMANDS) for name, value in own.items())
    logger, last = logging.getLogger("music"), logging.lastResort
    levels = logger.level, last.level, logging.root.manager.disable
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        # The commands of this tree, whatever is installed.
        patch.setattr(metadata, "entry_points", lambda **by: entries if by == {"group": COMMANDS} else found(**by))
        patch.setattr(sys, "argv", ["music", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as end:
            runpy.run_module("music", run_name="__main__")
    logger.level, last.level, logging.root.manager.disable = levels
    assert not end.value.code, (arguments, end.value.code)
    return json.loads(printed.getvalue())


def sha256(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def rows_of(folder):
    return [row for path in sorted(folder.glob("pairs-*.parquet")) for row in pq.read_table(path).to_pylist()]


def columns_of(folder):
    """Return the columns of the pairs with their types."""
    return {field.name: str(field.type) for path in folder.glob("pairs-*.parquet") for field in pq.read_schema(path)}


def keys_of(value, depth):
    """Return the sorted keys of a JSON object, with those of the objects in it down to a depth."""
    if not isinstance(value, dict):
        return None
    return {key: keys_of(value[key], depth - 1) if depth > 1 else None for key in sorted(value)}


def without_words(value):
    if isinstance(value, dict):
        return {key: without_words(one) for key, one in value.items() if key not in WORDS}
    return [without_words(one) for one in value] if isinstance(value, list) else value


def figures_of(result):
    """Return what a result of `music evaluate` measures: not its paths, versions, words and times."""
    kept = ("fingerprint", "figures", "num_items", "num_completions", "num_truncated")
    figures = {key: result[key] for key in kept}
    if result["comparison"]:
        figures["differences"] = result["comparison"]["differences"]
    return without_words(figures)


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("golden")


@pytest.fixture(scope="module")
def mixture(runs):
    """Pairs of the default mixture: enough of them that `run.json` has what words alone tell."""
    music("simulate", "sandbox", "--out", runs / "mixture", "--num-pairs", 60, "--turns", 4)
    return runs / "mixture"


@pytest.fixture(scope="module")
def instruction(runs):
    """Pairs of the paper's contrast, of another seed."""
    settings = ("--num-pairs", 8, "--turns", 3, "--seed", 7, "--strategy", "instruction")
    music("simulate", "sandbox", "--out", runs / "instruction", *settings)
    return runs / "instruction"


@pytest.fixture(scope="module")
def training(mixture, runs):
    """The folder of a model trained for 20 steps, in more than one epoch."""
    music(
        *("train", mixture, "--base", BACKBONE, "--out", runs / "rm", "--device", "cpu", "--batch-size", 4),
        *("--num-epochs", 2, "--max-steps", 20, "--learning-rate", 2e-3, "--eval-fraction", 0.25),
        *("--evaluate-every", 10, "--per-turn", 0.5),
    )
    return runs / "rm"


@pytest.fixture(scope="module")
def conversations(mixture):
    pairs = read_preferences(mixture).pairs[:20]
    return [side for pair in pairs for side in (pair.chosen, pair.rejected)]


@pytest.mark.parametrize("name", ["mixture", "instruction"])
def test_rows_of_a_simulation(name, check, request):
    rows = rows_of(request.getfixturevalue(name))
    check(f"simulate {name}: number of pairs", len(rows))
    check(f"simulate {name}: first rows", [row["id"] for row in rows[:3]])
    for column in CONTENT:
        check(f"simulate {name}: {column}", sha256([row[column] for row in rows]))


def test_account_of_a_simulation(check, mixture):
    record = read_json(mixture / "run.json")
    kept = ("status", "num_wanted", "num_pairs", "failures", "retries", "judge", "diagnostics")
    check("simulate mixture: account", without_words({key: record[key] for key in kept}))


def test_columns_and_keys_of_files(check, mixture, training):
    check("columns of pairs", columns_of(mixture))
    check("keys of run.json", keys_of(read_json(mixture / "run.json"), depth=2))
    check("keys of training.json", keys_of(read_json(training / "training.json"), depth=1))
    check("keys of score_contract.json", keys_of(read_json(training / "score_contract.json"), depth=2))
    check("score_contract.json", read_json(training / "score_contract.json"), rel=1e-3)
    check("files of a simulation", sorted(path.name for path in mixture.iterdir()))
    check("files of a reward model", sorted(path.name for path in training.iterdir()))


def test_scores(check, conversations):
    model = RewardModel.from_pretrained(REWARD_MODEL, device="cpu")
    assert len(conversations) == 40
    check("RewardModel.score", model.score(conversations))
    check("RewardModel.score_turns", model.score_turns(conversations))


def test_losses_of_training(check, training):
    record = read_json(training / "training.json")
    assert len(record["losses"]) == 20
    check("train: losses", record["losses"], rel=1e-3, abs=1e-4)
    for held_out in ("before", "after", "evaluations"):
        check(f"train: {held_out}", record[held_out], rel=1e-3, abs=1e-3)


def test_packing_of_training(check, training):
    record = read_json(training / "training.json")
    for name in ("packing", "pairs", "sources", "held_out", "num_steps", "num_tokens"):
        check(f"train: {name}", record[name])


def test_packing_of_one_epoch(check, mixture, runs):
    settings = ("--batch-size", 6, "--num-epochs", 1, "--eval-fraction", 0, "--max-length", 128)
    music("train", mixture, "--base", BACKBONE, "--out", runs / "epoch", "--device", "cpu", *settings)
    record = read_json(runs / "epoch" / "training.json")
    for name in ("packing", "pairs", "num_steps", "num_tokens"):
        check(f"train one epoch: {name}", record[name])


def test_figures_of_preferences(check, mixture, runs):
    out = runs / "evaluated"
    models = ("--model", REWARD_MODEL, "--baseline", f"prefix-mean:{REWARD_MODEL}")
    result = music("evaluate", "preferences", mixture, *models, "--out", out)
    check("evaluate preferences", figures_of(result))
    head, *scored = read_lines(out / "scores.jsonl")
    check("keys of scores.jsonl", [keys_of(head, depth=1), keys_of(scored[0], depth=1)])
    check("evaluate preferences: hash of the items", head["items"])
    check(
        "evaluate preferences: scores",
        {row["id"]: row["scores"] for row in sorted(scored, key=lambda row: row["id"])[:20]},
    )


def test_figures_of_defects(check, mixture, runs):
    music("defects", mixture, "--out", runs / "defects", "--contrast", "sandbox", "--num-pairs", 24, "--same-author")
    check("defects: rows", sha256([[row[column] for column in CONTENT] for row in rows_of(runs / "defects")]))
    result = music("evaluate", "defects", runs / "defects", "--model", REWARD_MODEL)
    check("evaluate defects", figures_of(result))


def test_choices_of_best_of_n(check, runs):
    out = runs / "best"
    settings = ("--n", 4, "--turns", 3, "--num-conversations", 6, "--baseline", "random")
    result = music("best-of-n", "--reward", REWARD_MODEL, "--out", out, *settings)
    kept = ("reward", "grade", "usage", "num_conversations", "num_failed", "by_n")
    check("best-of-n", [{key: arm[key] for key in kept} for arm in result["arms"]])
    for arm in ("reward", "baseline"):
        rollouts = read_lines(out / f"{arm}.jsonl")
        decisions = [decision for rollout in rollouts for decision in rollout["decisions"]]
        check(f"best-of-n {arm}: choices", [decision["chosen"] for decision in decisions])
        check(f"best-of-n {arm}: scores", [decision["scores"] for decision in decisions])
        check(f"best-of-n {arm}: grades", [rollout["grade"] for rollout in rollouts])
        check(f"best-of-n {arm}: candidates", sha256([decision["candidates"] for decision in decisions]))
        check(f"best-of-n {arm}: messages", sha256([rollout["messages"] for rollout in rollouts]))


def test_rewards_and_advantages_of_a_step_of_rl(check, runs, monkeypatch):
    import trl

    rewards, advantages = [], []
    step, compute_loss = ChatVectorEnv.step, trl.GRPOTrainer.compute_loss

    def watched_step(self, actions):
        result = step(self, actions)
        if self.num_envs == 6:  # the others hold the evaluations
            rewards.append([float(reward) for reward in result[1]])
        return result

    def watched_loss(self, model, inputs, *arguments, **named):
        advantages.extend(inputs["advantages"].tolist())
        return compute_loss(self, model, inputs, *arguments, **named)

    monkeypatch.setattr(ChatVectorEnv, "step", watched_step)
    monkeypatch.setattr(trl.GRPOTrainer, "compute_loss", watched_loss)
    sizes = ("--num-groups", 2, "--group-size", 3, "--turns", 2, "--num-evaluations", 4, "--max-reply-tokens", 24)
    steps = ("--num-steps", 1, "--updates-per-step", 1, "--discount", 0.5)
    music("rl", "--out", runs / "rl", *sizes, *steps)
    check("rl: rewards, turn by turn", rewards)
    # TRL shuffles the rows, and an advantage belongs to every token of a turn.
    turns = sorted([value for value, _ in itertools.groupby(row) if value] for row in advantages)
    check("rl: advantages of turns", turns)
    result = read_json(runs / "rl" / "result.json")
    check("keys of result.json", keys_of(result, depth=1))
    for name in ("curve", "greedy_before", "greedy_after"):
        check(f"rl: {name}", result[name], rel=1e-3, abs=1e-4)
    check("rl: held-out conversations", sha256(read_lines(runs / "rl" / "before.jsonl")))


def test_pairs_are_written_and_read_unchanged(check, mixture, runs):
    pairs = read_preferences(mixture).pairs
    write_preferences(pairs, runs / "pairs.jsonl")
    check("write_preferences", sha256(read_lines(runs / "pairs.jsonl")))
    again = read_preferences(runs / "pairs.jsonl").pairs
    assert [(pair.id, pair.chosen, pair.rejected) for pair in again] == [
        (pair.id, pair.chosen, pair.rejected) for pair in pairs
    ]
