import json

import pytest

from music.serving.replicas.route import route_of

SYSTEM = {"role": "system", "content": "Be short."}
HISTORY = [{"role": "user", "content": "Hi!"}]
GROWN = [*HISTORY, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye!"}]
LONG = "<|user|>Hi!" + "x" * 600


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"conversations": [HISTORY]}, {"per_turn": True, "conversations": [GROWN, HISTORY]}),
        ({"history": HISTORY, "candidates": ["A", "B"]}, {"history": GROWN, "candidates": ["C"]}),
        ({"messages": [SYSTEM, *HISTORY]}, {"model": "rm", "messages": [SYSTEM, *GROWN]}),
        ({"input": LONG}, {"input": [LONG + "more"]}),
        ({"input": [[5] * 200]}, {"input": [[5] * 250 + [6]]}),
        ({"query": [LONG], "prompts": ["a"]}, {"query": [LONG + "more", "other"], "prompts": ["a", "b"]}),
        ({"inputs": [[LONG]]}, {"inputs": LONG + "more"}),
        ({"prompt": HISTORY, "response": "A"}, {"prompt": GROWN, "response": "B"}),
    ],
)
def test_a_conversation_keeps_its_route_as_it_grows(first, later):
    route = route_of(json.dumps(first).encode())
    assert route
    assert route_of(json.dumps(later).encode()) == route


def test_other_conversations_have_other_routes():
    bodies = [
        {"messages": HISTORY},
        {"messages": [SYSTEM, *HISTORY]},
        {"messages": [{"role": "user", "content": "Ho!"}]},
        {"input": "Some text"},
        {"input": [1, 2, 3]},
        {"input": [[1, 2, 4]]},
    ]
    assert len({route_of(json.dumps(body).encode()) for body in bodies}) == len(bodies)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"1", b"{}", b"\xff", b'{"messages": 3}', b'{"messages": {}}', b'{"messages": [1.5]}'),
        *(b'{"messages": [{}]}', b'{"messages": [{"content": [3]}]}', b'{"input": [[]]}', b'{"query": [null]}'),
    ],
)
def test_what_is_no_conversation_has_a_route_too(body):
    assert isinstance(route_of(body), str)
