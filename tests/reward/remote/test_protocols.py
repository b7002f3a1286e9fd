"""Every protocol, spoken with a real process: the scores are right, and what cannot be a reward is refused."""

import asyncio
import json
import logging
import pickle
from urllib.request import urlopen

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import EndpointTimeoutError, EndpointUnavailableError, MalformedReplyError, RequestRejectedError
from music.llm.retry import RetryPolicy
from music.reward import (
    RemoteReward,
    RemoteRewardSettings,
    RewardModel,
    Scored,
    Unscorable,
    UnscorableError,
    length_reward,
    load_reward,
)
from tests.reward.protocol_routes import reward_of_ids, reward_of_text

QUICK = RemoteRewardSettings(retry=RetryPolicy(max_tries=2, backoff=0.0))
HISTORY = Conversation().user("Name a river.").assistant("The Rhine.").user("Another one?")
CONVERSATIONS = [HISTORY.assistant("Elbe" + "!" * number) for number in range(10)]
OTHERS = [Conversation().user(f"Question {number}").assistant("Answer." + number * "!") for number in range(10)]


def asked(url):
    """Return the bodies that a mode of `music serve` got, without those of the check."""
    with urlopen(f"{url}/asked") as answer:
        return [body for body in json.load(answer)["bodies"] if "Name a colour." not in json.dumps(body)]


@pytest.fixture
def music(killable_reward_server):
    return f"{killable_reward_server.url}/music"


@pytest.fixture(scope="module")
def local(reward_checkpoint):
    return RewardModel.from_pretrained(reward_checkpoint())


@pytest.fixture(scope="module")
def folder(local, tmp_path_factory):
    path = tmp_path_factory.mktemp("rm")
    local.save_pretrained(path)
    return str(path)


def test_music_serve_is_recognised_and_gets_few_requests(music):
    reward = load_reward(f"rm@{music}")
    assert reward(OTHERS) == length_reward(OTHERS)
    assert [len(body["conversations"]) for body in asked(music)] == [10]
    assert reward.fingerprint == "same"
    assert reward.contract.max_length == 512


def test_candidates_are_sent_with_their_history_once(music):
    reward = RemoteReward("rm", music)
    candidates = [each.messages[-1].content for each in CONVERSATIONS]
    assert reward.score_candidates(HISTORY, candidates) == length_reward(CONVERSATIONS)
    (body,) = asked(music)
    assert (body["history"], body["candidates"]) == (HISTORY.to_messages(), candidates)
    assert reward.score_candidates(HISTORY, []) == []
    with pytest.raises(InvalidInputError, match="history that ends with the user"):
        reward.score_candidates(CONVERSATIONS[0], candidates)


@pytest.mark.parametrize("mode", ["music", "vllm"])
def test_turns_are_scored_as_the_conversation_cut_after_each(reward_server, mode):
    reward = RemoteReward("rm", f"{reward_server}/{mode}")
    conversations = [*CONVERSATIONS[:3], HISTORY, Conversation().user("Hi!"), Conversation()]
    expected = [length_reward([each.prefix(end) for end in each.turn_ends]) for each in conversations]
    assert reward.score_turns(conversations) == expected


def test_requests_are_bounded_by_conversations_and_characters(music):
    settings = RemoteRewardSettings(max_batch=3, max_batch_chars=60)
    assert RemoteReward("rm", music, settings)(OTHERS) == length_reward(OTHERS)
    bodies = asked(music)
    assert sum(len(body["conversations"]) for body in bodies) == len(OTHERS)
    assert all(len(body["conversations"]) <= 3 for body in bodies)


def test_problems_are_returned_or_raised(reward_server):
    reward = RemoteReward("rm", f"{reward_server}/music")
    long, odd = HISTORY.assistant("TOO LONG"), HISTORY.assistant("ODD")
    assert reward.score_each([CONVERSATIONS[0], HISTORY, long, odd, Conversation()]) == [
        Scored(length_reward(CONVERSATIONS[:1])[0]),
        Scored(None, problem=Unscorable.NO_REPLY),
        Scored(None, problem=Unscorable.OVER_LONG),
        Scored(None, problem=Unscorable.REFUSED),
        Scored(None, problem=Unscorable.NO_REPLY),
    ]
    with pytest.raises(UnscorableError, match=r"conversation 1 cannot be scored: over_long \(max_length 512\)"):
        reward([CONVERSATIONS[0], long])
    with pytest.raises(UnscorableError, match="candidate 1 cannot be scored: over_long"):
        reward.score_candidates(HISTORY, ["Elbe", "TOO LONG"])
    with pytest.raises(UnscorableError, match="conversation 1 cannot be scored: over_long"):
        reward.score_turns([CONVERSATIONS[0], long])


@pytest.mark.parametrize("mode", ["limited", "bad-request"])
def test_a_refused_request_is_halved_until_only_what_is_refused_is_left(reward_server, mode):
    reward = RemoteReward("rm", f"{reward_server}/{mode}")
    conversations = [*OTHERS[:6], HISTORY.assistant("BAD"), *OTHERS[6:]]
    scored = reward.score_each(conversations)
    if mode == "bad-request":
        assert scored.pop(6) == Scored(None, problem=Unscorable.REFUSED)
        conversations.pop(6)
    assert [each.score for each in scored] == length_reward(conversations)


@pytest.mark.parametrize("mode", ["null", "nan", "short", "shuffled"])
def test_an_answer_that_lacks_scores_is_an_error(reward_server, mode):
    with pytest.raises(MalformedReplyError, match=rf"rm@{reward_server}/{mode}: expected .*got: .*\(tried 2 times\)"):
        RemoteReward("rm", f"{reward_server}/{mode}", QUICK)(OTHERS)


def test_an_answer_that_lacks_turns_is_an_error(reward_server):
    with pytest.raises(MalformedReplyError, match="expected a score and its turns"):
        RemoteReward("rm", f"{reward_server}/no-turns", QUICK).score_turns(OTHERS)


def test_the_same_number_for_everything_is_refused(reward_server):
    reward = RemoteReward("rm", f"{reward_server}/constant")
    for _ in range(2):
        with pytest.raises(MalformedReplyError, match=r"got 3\.0 for 4 different conversations.*never trained"):
            reward(OTHERS)


def test_what_the_server_failed_to_score_is_asked_for_again(killable_reward_server):
    url = f"{killable_reward_server.url}/oom-once"
    assert RemoteReward("rm", url, QUICK)(OTHERS) == length_reward(OTHERS)
    once = RemoteRewardSettings(retry=RetryPolicy(max_tries=1))
    with pytest.raises(EndpointUnavailableError, match=r"data\[0\] was not scored: out_of_memory.*nothing was scored"):
        RemoteReward("rm", url, once)(CONVERSATIONS)


@pytest.mark.parametrize("mode", ["busy", "draining"])
def test_a_server_that_asks_for_time_gets_it(killable_reward_server, mode):
    url = f"{killable_reward_server.url}/{mode}"
    settings = RemoteRewardSettings(retry=RetryPolicy(backoff=0.0))
    assert RemoteReward("rm", url, settings)(OTHERS) == length_reward(OTHERS)
    with urlopen(f"{url}/asked") as answer:
        first, again, *_ = json.load(answer)["times"]
    assert again - first >= 1.0


def test_a_model_that_is_replaced_in_mid_call_gives_scores_of_one_model(killable_reward_server):
    url = f"{killable_reward_server.url}/reloading"
    reward = RemoteReward("rm", url, RemoteRewardSettings(max_batch=2, max_in_flight=1))
    assert reward(OTHERS) == length_reward(OTHERS)
    assert reward.fingerprint == "after"
    # All ten were asked for again, as some were scored before.
    assert sum(len(body["conversations"]) for body in asked(url)) == 2 * len(OTHERS)


def test_the_whole_call_is_bounded_by_its_timeout(reward_server):
    reward = RemoteReward("rm", f"{reward_server}/hanging")
    with pytest.raises(EndpointTimeoutError, match=r"no scores within 0\.3 s: nothing was scored"):
        reward.score(OTHERS, timeout=0.3)


async def test_all_methods_can_be_awaited(reward_server):
    reward = RemoteReward("rm", f"{reward_server}/music")
    scores, each, turns, candidates = await asyncio.gather(
        reward.ascore(OTHERS),
        reward.ascore_each([OTHERS[0], HISTORY]),
        reward.ascore_turns(OTHERS[:2]),
        reward.ascore_candidates(HISTORY, ["Elbe", "Elbe!"]),
    )
    assert scores == length_reward(OTHERS)
    assert [scored.problem for scored in each] == [None, Unscorable.NO_REPLY]
    assert turns == [[score] for score in scores[:2]]
    assert candidates == length_reward(CONVERSATIONS[:2])
    hanging = asyncio.create_task(RemoteReward("rm", f"{reward_server}/hanging").ascore(OTHERS))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hanging, 0.3)
    assert hanging.cancelled() or hanging.done()


def test_vllm_is_recognised_among_others(reward_server):
    assert RemoteReward("rm", f"{reward_server}/vllm")(OTHERS) == length_reward(OTHERS)


@pytest.mark.parametrize(("mode", "protocol"), [("sglang", None), ("embeddings", "openai-embeddings")])
def test_token_ids_are_those_of_the_model_in_this_process(reward_server, local, folder, mode, protocol):
    reward = RemoteReward(folder, f"{reward_server}/{mode}", protocol=protocol)
    expected = [reward_of_ids(encoding.ids) for encoding in local.tokens.encode_all(OTHERS)]
    assert reward(OTHERS) == expected
    assert reward.contract == local.contract
    assert reward.fingerprint is None
    turns = local.tokens.encode_all([HISTORY.prefix(2), CONVERSATIONS[0]])
    assert reward.score_turns(CONVERSATIONS[:1]) == [[reward_of_ids(encoding.ids) for encoding in turns]]


def test_long_conversations_lose_their_oldest_exchanges_before_they_are_sent(reward_server, local, folder):
    long = Conversation()
    for number in range(40):
        long = long.user(f"Question {number}, and now?").assistant(f"Answer {number}, so there.")
    (encoding,) = local.tokens.encode_all([long])
    assert encoding.num_dropped_turns > 0
    reward = RemoteReward(folder, f"{reward_server}/embeddings", protocol="openai-embeddings")
    expected = Scored(reward_of_ids(encoding.ids), num_dropped_turns=encoding.num_dropped_turns)
    assert reward.score_each([long, OTHERS[0]])[0] == expected
    # This SGLang takes 300 tokens. Only the conversation that is longer has no score.
    sglang = RemoteReward(folder, f"{reward_server}/sglang")
    assert [each.problem for each in sglang.score_each([*OTHERS[:3], long])] == [None, None, None, Unscorable.REFUSED]


def test_what_the_template_refuses_is_not_sent(reward_server, folder):
    blank = Conversation().user("x").assistant("y " * 2000)
    reward = RemoteReward("rm", f"{reward_server}/sglang", tokenizer=folder)
    assert [each.problem for each in reward.score_each([OTHERS[0], blank])] == [None, Unscorable.OVER_LONG]


def test_openrlhf_gets_the_rendered_text(reward_server, local, folder):
    reward = RemoteReward("rm", f"{reward_server}/openrlhf", tokenizer=folder)
    render = local.tokens.tokenizer.apply_chat_template
    texts = [render(each.to_messages(), tokenize=False) for each in OTHERS]
    assert reward(OTHERS) == [reward_of_text(text) for text in texts]


def test_a_mean_over_turns_cannot_come_from_a_server_that_gives_one_reward(reward_server, local, tmp_path):
    local.with_readout("turn_mean").save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match=r"expected the readout last.*serve the model with `music serve`"):
        RemoteReward(str(tmp_path), f"{reward_server}/sglang")(OTHERS)


def test_an_embedding_is_no_reward(reward_server, folder):
    reward = RemoteReward(folder, f"{reward_server}/vectors", protocol="openai-embeddings")
    with pytest.raises(MalformedReplyError, match="got 3 of 3 classes: serve a reward model with one label"):
        reward(OTHERS)


def test_a_missing_tokenizer_is_named(reward_server, tmp_path):
    with pytest.raises(InvalidInputError, match=r"needs the reward model's tokenizer.*as tokenizer.*no-such-folder"):
        RemoteReward("rm", f"{reward_server}/sglang", tokenizer=str(tmp_path / "no-such-folder"))(OTHERS)


def test_a_wrong_protocol_is_named(reward_server):
    with pytest.raises(RequestRejectedError, match=r"404.*spoken to as 'vllm'"):
        RemoteReward("rm", f"{reward_server}/music", protocol="vllm")(OTHERS)


def test_it_can_be_sent_to_another_process_with_all_it_was_given(reward_server, folder, caplog):
    reward = RemoteReward("rm", [f"{reward_server}/embeddings"], QUICK, protocol="openai-embeddings", tokenizer=folder)
    with caplog.at_level(logging.WARNING):
        assert pickle.loads(pickle.dumps(reward))(OTHERS) == reward(OTHERS)
    assert not caplog.records


def test_it_knows_which_conversations_are_scored_as_a_whole(reward_server, music, local, folder):
    long = Conversation()
    for number in range(40):
        long = long.user(f"Question {number}, and now?").assistant(f"Answer {number}, so there.")
    reward = RemoteReward(folder, f"{reward_server}/embeddings", protocol="openai-embeddings")
    assert reward.fits([long, OTHERS[0]]) == local.fits([long, OTHERS[0]]) == [False, True]
    served = RemoteReward("rm", music)
    assert served.fits([OTHERS[0], Conversation().user("Hi!").assistant("TOO LONG " * 60)]) == [True, False]
    assert [len(body["conversations"]) for body in asked(music)] == [1]  # what is short is not asked about
    assert RemoteReward("rm", reward_server).fits([long]) == [True]  # vLLM does not say
