import random

from music.conversation import Conversation
from music.reward.remote.batches import home_of, make_batches

SERVERS = [f"rm@http://h:{port}" for port in range(5)]


def growing(number, num_turns):
    """One conversation after each of its turns."""
    conversation, turns = Conversation(), []
    for turn in range(num_turns):
        conversation = conversation.user(f"{number} asks {turn}").assistant(f"{number} answers {turn}")
        turns.append(conversation)
    return turns


def test_each_conversation_is_in_one_batch_within_the_limits():
    conversations = [turn for number in range(20) for turn in growing(number, 7)]
    random.Random(0).shuffle(conversations)
    batches = make_batches(conversations, SERVERS, max_size=6, max_chars=300)
    assert sorted(index for batch in batches for index in batch.indices) == list(range(len(conversations)))
    for batch in batches:
        assert [conversations[index] for index in batch.indices] == list(batch.conversations)
        chars = sum(len(message.content) for each in batch.conversations for message in each.messages)
        assert len(batch.indices) <= 6
        assert chars <= 300 or len(batch.indices) == 1
        routes = [each.messages[0].content for each in batch.conversations]
        assert {home_of(route, SERVERS) for route in routes} == {home_of(batch.route, SERVERS)}


def test_turns_of_one_conversation_stay_together_in_order():
    numbered = [growing(number, 4) for number in range(6)]
    conversations = [numbered[number][turn] for turn in range(4) for number in range(6)]
    (batch,) = make_batches(conversations, SERVERS[:1], max_size=100, max_chars=100_000)
    assert list(batch.conversations) == [turn for turns in numbered for turn in turns]


def test_a_history_counts_once_for_its_candidates():
    history = Conversation().user("x" * 1000)
    candidates = [history.assistant(str(number)) for number in range(10)]
    assert len(make_batches(candidates, SERVERS, max_size=64, max_chars=1100)) == 1
    others = [Conversation().user("x" * 999 + str(number)).assistant("y") for number in range(10)]
    assert len(make_batches(others, SERVERS[:1], max_size=64, max_chars=1100)) == 10


def test_one_conversation_is_sent_however_long():
    (batch,) = make_batches([Conversation().user("x" * 99).assistant("y")], SERVERS, max_size=64, max_chars=10)
    assert batch.indices == (0,)


def test_routes_are_spread_and_only_those_of_a_lost_replica_move():
    routes = [f"Question {number}" for number in range(1000)]
    homes = {route: home_of(route, SERVERS) for route in routes}
    assert all(150 < list(homes.values()).count(server) < 250 for server in SERVERS)
    for route in routes:
        now = home_of(route, SERVERS[1:])
        assert now in SERVERS[1:]
        assert now == homes[route] or homes[route] == SERVERS[0]


def test_a_system_message_alone_is_no_route():
    system = {"role": "system", "content": "Be short."}
    conversations = [
        Conversation.from_messages([system, {"role": "user", "content": str(n)}, {"role": "assistant", "content": "y"}])
        for n in range(40)
    ]
    assert len({batch.route for batch in make_batches(conversations, SERVERS, max_size=1, max_chars=9)}) == 40
