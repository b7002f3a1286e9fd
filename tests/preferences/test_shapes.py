"""What shapes come to beyond their plainest row: histories, ties, ranks, ids, and rows that are near a shape."""

import json

import pytest

from music import InvalidInputError
from music.preferences import Change, Consecutive, Format, RowProblem, read_preferences, read_seeds
from music.preferences.rows import read_column

HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello."}
WHAT = {"role": "assistant", "content": "What?"}


def texts(conversation):
    return [message.content for message in conversation.messages]


@pytest.fixture
def read(write_jsonl):
    """Read rows as pairs."""

    def read_rows(*rows, **options):
        return read_preferences(write_jsonl(rows), **options)

    return read_rows


PROMPT = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: A tip?\n\nAssistant:"


@pytest.mark.parametrize(
    "prompt", [PROMPT, PROMPT + " ", PROMPT.replace("\n", "\r\n"), PROMPT[: -len("\n\nAssistant:")]]
)
def test_a_transcript_as_prompt_is_a_history(read, prompt):
    (pair,) = read({"prompt": prompt, "chosen": " Rest.", "rejected": "No.", "response": "Rest."}).pairs
    assert texts(pair.chosen) == ["Hi", "Yes?", "A tip?", "Rest."]
    assert texts(pair.rejected) == ["Hi", "Yes?", "A tip?", "No."]


def test_a_text_that_begins_with_the_word_human_is_a_message(read):
    (pair,) = read({"prompt": "Human: what does the word mean?", "chosen": "A person.", "rejected": "No."}).pairs
    assert texts(pair.chosen) == ["Human: what does the word mean?", "A person."]


def test_sides_as_json_text_are_messages(read):
    sides = {"chosen": [HI, HELLO], "rejected": [HI, WHAT]}
    as_json = {name: json.dumps(side) for name, side in sides.items()}
    as_python = {name: str(side) for name, side in sides.items()}
    for row in (as_json, as_python, {"prompt": "Hi", **as_json}, {"prompt": json.dumps([HI]), **as_json}):
        (pair,) = read(row, strict=True).pairs
        assert pair.chosen.to_messages() == [HI, HELLO]


def test_text_that_begins_like_messages_is_never_a_reply(read):
    torn = json.dumps([HI, HELLO])[:-3]
    (row,) = read({"prompt": "Hi", "chosen": torn, "rejected": "No."}).rejected
    assert (row.problem, "messages, as JSON" in row.detail) == (RowProblem.WRONG_TYPE, True)


@pytest.mark.parametrize("reply", ['{"tea": ["green"]}', "[1, 2]", "{x}", "[link](a)"])
def test_replies_may_be_json(read, reply):
    (pair,) = read({"prompt": "Give me JSON.", "chosen": reply, "rejected": "No."}).pairs
    assert texts(pair.chosen)[-1] == reply


def test_a_prompt_that_the_sides_repeat_stands_once(read):
    system = {"role": "system", "content": "Be kind."}
    (pair,) = read({"prompt": [system, HI], "chosen": [HI, HELLO], "rejected": [HI, WHAT]}).pairs
    assert pair.chosen.to_messages() == [system, HI, HELLO]


def test_a_column_of_system_messages_is_read_with_every_shape(read):
    after = {"chosen": "Hello.", "rejected": "What?"}
    rows = [
        {"system": "Be kind.", "question": "Hi", **after},
        {"system_prompt": "Be kind.", "instruction": "Hi", **after},
        {"system": "Be kind.", "chosen": [HI, HELLO], "rejected": [HI, WHAT]},
        {"system": "Be kind.", "conversations": [{"from": "human", "value": "Hi"}], **after},
        {"system": "Be kind.", "messages": [HI, HELLO], "rejected_response": "What?"},
    ]
    assert [texts(pair.chosen) for pair in read(*rows).pairs] == [["Be kind.", "Hi", "Hello."]] * len(rows)


def test_alpaca_has_a_history_and_an_input(read):
    row = {"instruction": "Name a tea.", "input": "A green one.", "history": [["Hi", "Yes?"]]}
    (pair,) = read(row | {"chosen": "Sencha.", "rejected": "No."}).pairs
    assert texts(pair.chosen) == ["Hi", "Yes?", "Name a tea.\nA green one.", "Sencha."]


def test_each_row_is_read_by_its_own_shape(read):
    found = read(
        {"chosen": [HI, HELLO], "rejected": [HI, WHAT]},
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"},
        {"prompt": [HI], "chosen": [HELLO], "rejected": [WHAT]},
        {"prompt": "Hi", "response_0": "What?", "response_1": "Hello.", "better_response_id": 1},
    )
    assert [pair.chosen.to_messages() for pair in found.pairs] == [[HI, HELLO]] * 4
    assert list(found.formats) == [Format.SKYWORK, Format.ULTRAFEEDBACK, Format.TRL, Format.PKU]
    assert "4 pairs from rows.jsonl (skywork and ultrafeedback and trl and pku-saferlhf)" in found.summary()


def battle(winner, **columns):
    long = [HI, HELLO, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Bye."}]
    return {"winner": winner, "conversation_a": long, "conversation_b": [*long[:1], WHAT, *long[2:]], **columns}


def test_battles_are_cut_after_the_turn_that_was_judged_and_ties_are_counted(read):
    rows = [
        battle("model_a", turn=1),
        battle("model_b", turn=2),
        battle("tie"),
        battle("tie (bothbad)"),
        battle("both_bad"),
    ]
    found = read(*rows, battle("nobody"))
    assert [(len(p.chosen.messages), texts(p.chosen)[1]) for p in found.pairs] == [(2, "Hello."), (4, "What?")]
    assert (found.num_rows, found.num_ties) == (6, 3)
    assert [row.problem for row in found.rejected] == [RowProblem.MISSING_VERDICT]
    assert found.summary().startswith("2 pairs from 6 rows of rows.jsonl (arena); 3 ties, which give no pair; 1 of 6")


def test_a_battle_that_is_shorter_than_the_judged_turn_is_left_out_with_the_reason(read):
    talk = [HI, {"role": "assistant", "content": "Hello."}]
    [rejected] = read({"conversation_a": talk, "conversation_b": talk, "winner": "model_a", "turn": 2}).rejected
    assert str(rejected.detail).startswith("conversation_a: expected at least 2 turns, as turn 2 was judged, got 1")


@pytest.mark.parametrize(
    ("row", "better"),
    [
        ({"prompt": "Hi", "response_0": "a", "response_1": "b", "better_response_id": 0}, "a"),
        ({"context": [HI], "response1": "a", "response2": "b", "overall_preference": -1}, "a"),
        ({"context": [HI], "response1": "a", "response2": "b", "overall_preference": 3}, "b"),
        ({"context": [HI], "response1": "a", "response2": "b", "overall_preference": 0}, None),
        ({"prompt": "Hi", "response_1": "a", "response_2": "b", "preference_strength": 1}, "b"),
        ({"history": "Hi", "human_ref_A": "a", "human_ref_B": "b", "labels": 0}, "b"),
        ({"history": "Hi", "human_ref_A": "a", "human_ref_B": "b", "labels": "1"}, "a"),
        ({"question": "Hi", "answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": 1.0}, "b"),
        ({"question": "Hi", "answer_0": "a", "answer_1": "b", "score_0": 0.0, "score_1": 0.0}, None),
    ],
)
def test_verdicts_name_the_better_reply(read, row, better):
    found = read(row)
    assert [texts(pair.chosen) for pair in found.pairs] == ([["Hi", better]] if better else [])
    assert (found.num_ties, found.rejected) == (int(better is None), ())


def test_rankings_give_all_pairs_of_different_ranks_with_ids_of_their_own(read):
    completions = [{"response": text, "overall_score": score} for text, score in (("a", 1), ("b", 9), ("c", 9))]
    found = read({"id": 7, "instruction": "Hi", "completions": completions})
    assert [(p.id, texts(p.chosen)[1], texts(p.rejected)[1]) for p in found.pairs] == [
        ("7/1", "b", "a"),
        ("7/2", "c", "a"),
    ]
    assert found.num_ties == 1


def test_two_equal_replies_of_a_ranking_cost_their_own_pair_alone(read):
    answers = [{"answer": text, "rank": rank} for rank, text in enumerate(("a", "b", "a"), start=1)]
    found = read({"prompt": "\n\nHuman: Hi\n\nAssistant: ", "answers": answers})
    assert [(texts(p.chosen)[1], texts(p.rejected)[1]) for p in found.pairs] == [("a", "b"), ("b", "a")]
    assert (found.rejected, found.changes) == ((), {Change.UNUSABLE_SIDES: 1})


def test_a_ranking_of_one_reply_has_nothing_to_compare(read):
    ranking = {"prompt": "\n\nHuman: Hi\n\nAssistant: ", "answers": [{"answer": "a", "rank": 1}]}
    tree = {"message_tree_id": "t", "prompt": {"text": "Hi", "role": "prompter", "replies": []}}
    rating = {"prompt": "Hi", "response": "a", "helpfulness": 1}
    for row in (ranking, tree, rating):
        assert [rejected.problem for rejected in read(row).rejected] == [RowProblem.ONE_REPLY]


def test_consecutive_ratings_of_one_prompt_are_one_row(read):
    rating = {"response": "x", "helpfulness": 1}
    rows = [rating | {"prompt": "Hi", "response": text, "helpfulness": worth} for text, worth in (("a", 1), ("b", 3))]
    rows += [rating | {"prompt": "Yo", "response": text, "helpfulness": 2} for text in ("c", "d")]
    found = read(*rows, rating | {"prompt": "Hi"})
    assert [(p.id, texts(p.chosen), texts(p.rejected)) for p in found.pairs] == [("rows-1", ["Hi", "b"], ["Hi", "a"])]
    assert (found.num_rows, found.num_ties, [row.number for row in found.rejected]) == (5, 1, [5])


def test_ratings_of_a_prompt_of_several_turns(read):
    prompt = "Hi\n<extra_id_1>Assistant\nYes?\n<extra_id_1>User\nA tip?"
    rows = [{"prompt": prompt, "response": text, "helpfulness": worth} for text, worth in (("Rest.", 4), ("No.", 0))]
    assert texts(read(*rows).pairs[0].chosen) == ["Hi", "Yes?", "A tip?", "Rest."]


def test_trees_are_compared_at_every_message_of_the_prompter(read):
    def reply(text, rank, *replies):
        return {"text": text, "role": "assistant", "rank": rank, "replies": list(replies)}

    further = {"text": "And?", "role": "prompter", "replies": [reply("x", 1), reply("y", 0), reply("z", None)]}
    deleted = reply("d", 2) | {"deleted": True}
    tree = {"text": "Hi", "role": "prompter", "replies": [reply("a", 0, further), reply("b", 1), deleted]}
    found = read({"message_tree_id": "t", "prompt": tree})
    assert [(texts(p.chosen), texts(p.rejected)) for p in found.pairs] == [
        (["Hi", "a"], ["Hi", "b"]),
        (["Hi", "a", "And?", "y"], ["Hi", "a", "And?", "x"]),
    ]


def test_several_rejected_responses_are_several_pairs(read):
    found = read({"messages": [HI, HELLO], "rejected_response": ["What?", "No."]})
    assert [texts(pair.rejected)[-1] for pair in found.pairs] == ["What?", "No."]


def test_a_repeated_id_is_numbered_and_counted(read):
    row = {"id": "p0", "chosen": [HI, HELLO], "rejected": [HI, WHAT]}
    found = read(row, row | {"id": "p1"}, row, row)
    assert [pair.id for pair in found.pairs] == ["p0", "p1", "p0#2", "p0#3"]
    assert "2 repeated ids made unique" in found.summary()


def test_no_flag_renames_a_pair(read):
    def row(*said):
        sides = {name: [*said, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
        return {"id": "p0", **sides}

    rows = row(HI, HI), row(HI)
    assert [pair.id for pair in read(*rows).pairs] == ["p0#2"]
    assert [pair.id for pair in read(*rows, consecutive=Consecutive.MERGE).pairs] == ["p0", "p0#2"]


def test_a_column_is_read_by_the_ids_of_pairs_and_prompts(write_jsonl):
    answers = [{"answer": text, "rank": rank} for rank, text in enumerate("ab")]
    ranking = {"id": "n", "prompt": "\n\nHuman: Hi\n\nAssistant: ", "answers": answers * 2, "margin": 2}
    pair = {"id": "p", "chosen": [HI, HELLO], "rejected": [HI, WHAT], "margin": 1}
    path = write_jsonl([pair, pair | {"margin": 3}, ranking, {"prompt": "Hi", "margin": 4}, pair | {"margin": None}])
    values = read_column(path, "margin")
    ids = [pair.id for pair in read_preferences(path).pairs]
    assert [values.get(id) for id in ids] == [1, 3, *[2] * (len(ids) - 3), None]
    assert values["rows-4"] == 4


def test_ids_as_pandas_writes_them(write_jsonl):
    sides = {"chosen": [HI, HELLO], "rejected": [HI, WHAT]}
    path = write_jsonl([{"id": 34.0, **sides}, '{"id": NaN, ' + json.dumps(sides)[1:]])
    assert [pair.id for pair in read_preferences(path).pairs] == ["34", "rows-2"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "Hi", "chosen": "Hello."}, "prompt (str), chosen (str).*ultrafeedback .*missing: rejected"),
        ({"chosen": "Hi! Hello.", "rejected": "Hi! What?"}, "lists of messages.*transcripts.*missing: prompt"),
        ({"messages": [HI, HELLO]}, "one conversation (messages), which `music score`.*missing: rejected_response"),
        ({"question": "Hi", "answer_0": "a", "answer_1": "b"}, "webgpt .*missing: score_0, score_1"),
        ({"text": "Hi"}, "columns text (str); known: skywork"),
    ],
)
def test_a_file_of_no_known_shape_names_its_columns_and_the_nearest_shape(write_jsonl, row, words):
    pattern = words.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(InvalidInputError, match=pattern):
        read_preferences(write_jsonl([row]))


def test_prompts_of_pairs_conversations_and_texts(write_jsonl):
    tools = [HI, HELLO, {"role": "tool", "content": "4"}, HELLO]
    rows = [
        {"prompt": "Name a tea."},
        {"messages": [HI, HELLO]},
        {"id": "c", "source": "set", "conversations": [{"from": "human", "value": "Hi"}]},
        {"chosen": [HI, HELLO], "rejected": [HI, WHAT]},
        {"prompt": PROMPT},
        {"messages": tools},
        {"messages": []},
        {"text": "Hi"},
    ]
    found = read_seeds(write_jsonl(rows))
    assert [(one.id, texts(one.conversation), texts(one.request)) for one in found.seeds] == [
        ("rows-1", ["Name a tea."], ["Name a tea."]),
        ("rows-2", ["Hi", "Hello."], ["Hi"]),
        ("c", ["Hi"], ["Hi"]),
        ("rows-4", ["Hi", "Hello."], ["Hi"]),
        ("rows-5", ["Hi", "Yes?", "A tip?"], ["Hi", "Yes?", "A tip?"]),
    ]
    assert found.seeds[2].source == "set"
    assert found.summary.startswith("1 pairs and 5 conversations from rows.jsonl (prompt and messages and ")
    assert "2 of 8 rows dropped" in found.summary
    assert "1 conversations with tool messages left out" in found.summary


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"instruction": "Translate.", "input": "Bonjour", "output": "Hello"}, ["Translate.\nBonjour"]),
        ({"instruction": "More?", "input": "", "history": [["Hi", "Yes?"]]}, ["Hi", "Yes?", "More?"]),
        ({"instruction": "Hi", "input": ""}, ["Hi"]),
        ({"query": "Hi", "response": "Hello."}, ["Hi"]),
        (
            {"history": [{"user": "Hi", "bot": "Yes?"}, {"user": "A tip?", "bot": "Rest."}]},
            ["Hi", "Yes?", "A tip?", "Rest."],
        ),
    ],
)
def test_rows_without_a_comparison_keep_all_that_was_asked(write_jsonl, row, said):
    path = write_jsonl([row])
    found = read_seeds(path)
    assert [texts(one.conversation) for one in found.seeds] == [said]
    format = Format(found.summary.partition("(")[2].removesuffix(")"))
    assert read_seeds(path, format=format).seeds == found.seeds


@pytest.mark.parametrize("history", ["Hi", [["Hi"]], [["Hi", None]], [{"user": "Hi"}]])
def test_a_history_that_is_no_list_of_exchanges_is_a_bad_row(write_jsonl, history):
    row = {"instruction": "More?", "chosen": "Yes.", "rejected": "No.", "history": history}
    (bad,) = read_preferences(write_jsonl([row])).rejected
    assert bad.problem is RowProblem.WRONG_TYPE
    assert bad.detail.startswith("history[0]: expected a request and a reply")


def test_a_source_of_no_known_shape_is_refused_with_what_is_read(write_jsonl):
    rows = write_jsonl([{"turns": ["Hi", "Bye"]}])
    with pytest.raises(
        InvalidInputError, match=r"expected rows of preferences, conversations or prompts, got .* prompt, "
    ):
        read_seeds(rows)
    with pytest.raises(InvalidInputError, match=r"a row is a prompt, which `music simulate` reads; nearest"):
        read_preferences(write_jsonl([{"prompt": "Hi"}]))


def test_a_conversation_in_which_no_user_speaks_is_a_bad_row(write_jsonl):
    found = read_seeds(write_jsonl([{"messages": [{"role": "system", "content": "Be brief."}]}, {"prompt": "Hi"}]))
    assert len(found.seeds) == 1
    assert "1 of 2 rows dropped: empty_text 1 (line 1)" in found.summary


def test_where_no_row_can_be_used_the_first_one_says_why(write_jsonl):
    row = {"prompt": "Hi", "chosen": ["Hello.", "Hey."], "rejected": ["No.", "What?"]}
    summary = read_preferences(write_jsonl([row, row])).summary()
    fault = "chosen[0]: expected {role: string, content: string}, got 'Hello.'"
    assert summary.endswith(f"2 of 2 rows dropped: wrong_type 2 (lines 1, 2); line 1: {fault}")
    assert fault not in read_preferences(write_jsonl([row, {"prompt": "Hi", "chosen": "a", "rejected": "b"}])).summary()
