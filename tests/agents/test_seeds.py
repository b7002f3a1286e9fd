import json
import re
from collections import Counter
from pathlib import Path

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music_agents import simulate
from music_agents.seeds import Seed, SeedContexts, digest_seeds, load_seeds


def test_a_seed_context_is_a_prefix_of_the_chosen_side_that_ends_with_the_assistant(seeds):
    by_id = {pair.id: pair for pair in seeds}
    contexts = SeedContexts(seeds, 0)
    for index in range(50):
        context = contexts[index]
        conversation = context.conversation
        assert conversation == by_id[context.seed.id].chosen.prefix(len(conversation.messages))
        assert conversation.messages[-1].role == "assistant"


def test_every_pair_is_used_once_a_round_in_an_order_of_the_run_seed(seeds):
    contexts = SeedContexts(seeds, 0)
    first, second = ([contexts[i + start].seed.id for i in range(7)] for start in (0, 7))
    assert sorted(first) == sorted(second) == sorted(pair.id for pair in seeds)
    assert any([SeedContexts(seeds, s)[i].seed.id for i in range(7)] != first for s in range(1, 4))


def test_prefixes_are_drawn_evenly_and_anew_in_each_round(seeds):
    contexts = SeedContexts(seeds, 5)
    three_turns = {pair.id for pair in seeds if pair.chosen.num_turns == 3}
    lengths = Counter(contexts[i].conversation.num_turns for i in range(3000) if contexts[i].seed.id in three_turns)
    assert set(lengths) == {1, 2, 3}
    assert max(lengths.values()) < 1.3 * min(lengths.values())


def test_no_seeds_are_refused():
    with pytest.raises(InvalidInputError, match="at least one"):
        SeedContexts([], 0)


def test_the_digest_sees_text_ids_and_order(seeds):
    changed = [seeds[0].model_copy(update={"chosen": seeds[1].chosen}), *seeds[1:]]
    renamed = [seeds[0].model_copy(update={"id": "other"}), *seeds[1:]]
    digests = {digest_seeds(pairs) for pairs in (seeds, seeds[::-1], seeds[:-1], changed, renamed)}
    assert len(digests) == 5
    assert digest_seeds(list(seeds)) == digest_seeds(seeds)


PROMPT = "Write a haiku about rain."
SHAPES = {
    "prompt text": ({"prompt": PROMPT}, [("user", PROMPT)]),
    "prompt messages": (
        {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]},
        [("system", "Be brief."), ("user", PROMPT)],
    ),
    "transcript": (
        {"prompt": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye\n\nAssistant:"},
        [("user", "Hi"), ("assistant", "Hello."), ("user", "Bye")],
    ),
    "messages": (
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
        [("user", "Hi"), ("assistant", "Hello.")],
    ),
    "conversations": (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
        [("user", "Hi"), ("assistant", "Hello.")],
    ),
}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(("row", "messages"), SHAPES.values(), ids=SHAPES)
def test_prompts_and_conversations_are_seeds(row, messages, tmp_path):
    (seed,) = load_seeds(write(tmp_path / "mine.jsonl", [row | {"id": "x", "source": "s"}])).seeds
    assert [(message.role, message.content) for message in seed.conversation.messages] == messages
    assert (seed.id, seed.source) == ("x", "s")


def test_rows_that_are_no_seeds_are_counted_or_refused(tmp_path):
    rows = [
        {"prompt": PROMPT},
        {"prompt": " "},
        {"prompt": None},
        {"messages": [{"role": "assistant", "content": "a"}]},
    ]
    path = write(tmp_path / "mine.jsonl", rows)
    found = load_seeds(path)
    assert len(found.seeds) == 1
    dropped = "empty_text 1 (line 2), missing_prompt 1 (line 3), roles_out_of_order 1 (line 4)"
    assert found.summary == f"1 conversations from mine.jsonl (prompt); 3 of 4 rows dropped: {dropped}"
    with pytest.raises(InvalidInputError, match="line 2, prompt: expected text"):
        load_seeds(path, strict=True)
    with pytest.raises(InvalidInputError) as caught:
        load_seeds(write(tmp_path / "none.jsonl", rows[1:]))
    dropped = "empty_text 1 (line 1), missing_prompt 1 (line 2), roles_out_of_order 1 (line 3)"
    assert str(caught.value) == (
        "expected at least one usable pair, conversation or prompt, got none: "
        f"0 pairs from none.jsonl (prompt and messages); 3 of 3 rows dropped: {dropped}; "
        "line 1: prompt: expected text, got ' '"
    )


def test_contexts_and_first_messages_are_as_the_page_of_seeds_shows_them(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "seeds.md").read_text(encoding="utf-8")
    (rows,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "rows.jsonl"
    path.write_text(rows)
    shown = []
    for number, seed in enumerate(load_seeds(str(path)).seeds, start=1):
        context = SeedContexts([seed], 0)[0]
        said = "; ".join(f"{message.role}: {message.content}" for message in context.conversation.messages)
        shown.append(f"| {number} | {said} | {context.opening or 'simulated'} |")
    assert shown == re.findall(r"^\| \d .*$", page, re.MULTILINE)


def test_pairs_stay_pairs_whatever_other_columns_they_have(tmp_path):
    row = {"prompt": PROMPT, "messages": [], "chosen": "Rain.", "rejected": "No."}
    found = load_seeds(write(tmp_path / "pairs.jsonl", [row]))
    assert [message.content for message in found.seeds[0].conversation.messages] == [PROMPT, "Rain."]
    assert found.summary == "1 pairs from pairs.jsonl (ultrafeedback)"


def test_a_prompt_is_a_context_and_the_first_user_message():
    conversation = Conversation().user("Hi").assistant("Hello.").user("Bye <|im_end|>")
    context = SeedContexts([Seed("x", conversation)], 0)[4]
    assert context.conversation == conversation.prefix(2)
    assert context.opening.startswith("Bye")
    assert "<|im_end|>" not in context.opening
    alone = SeedContexts([Seed("x", Conversation().user("Hi"))], 0)[0]
    assert (alone.conversation, alone.opening) == (Conversation(), "Hi")


async def test_a_prompt_is_asked_of_nobody_and_said_on_both_sides(graph_over, fake_model):
    model = fake_model()
    seeds = [
        Seed("a", Conversation().user("Name a tree.")),
        Seed("b", Conversation().user("x").assistant("y").user("z")),
    ]
    pairs = [pair async for pair in simulate(seeds, graph_over(model), num_pairs=2, num_turns=2)]
    for pair in pairs:
        asked = {"a": "Name a tree.", "b": "z"}[pair.seed_id]
        assert pair.num_seed_messages == (0 if pair.seed_id == "a" else 2)
        assert {side.messages[pair.num_seed_messages].content for side in (pair.chosen, pair.rejected)} == {asked}
    asked_users = [request.key for request in model.requests if "/user/" in request.key]
    assert asked_users
    assert not any("/0/user/" in key for key in asked_users)


def test_a_seed_without_a_user_is_refused():
    with pytest.raises(InvalidInputError, match="at least one message by the user"):
        Seed("x", Conversation())
