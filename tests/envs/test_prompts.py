import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences import write_preferences
from music_envs import ChatEnv, load_prompts

PROMPT = Conversation().user("Name a tea.").assistant("Green.").user("Another one?")


@pytest.fixture
def preferences(tmp_path):
    """Three pairs: sides that part in the last reply, in the first, and in the user's second message."""
    pairs = [
        PreferencePair(id="last", chosen=PROMPT.assistant("Black."), rejected=PROMPT.assistant("No.")),
        PreferencePair(
            id="first", chosen=PROMPT.prefix(1).assistant("White."), rejected=PROMPT.prefix(1).assistant("Tea.")
        ),
        PreferencePair(
            id="user",
            chosen=PROMPT.assistant("Black."),
            rejected=PROMPT.prefix(2).user("Why?").assistant("So."),
        ),
    ]
    path = tmp_path / "pairs.jsonl"
    write_preferences(pairs, path)
    return str(path)


def test_prompts_of_a_preference_file_are_what_both_sides_share_up_to_the_user(preferences):
    assert load_prompts(preferences) == (PROMPT, PROMPT.prefix(1), PROMPT.prefix(1))
    assert load_prompts(preferences, 1) == (PROMPT,)


def test_episodes_start_from_the_prompts_of_a_preference_file(preferences):
    env = ChatEnv(seeds=preferences)
    for index, prompt in enumerate(load_prompts(preferences)):
        observation, info = env.reset(seed=0, options={"seed_index": index})
        assert (observation, info["usage"]["num_calls"]) == (prompt, 0)
        assert env.step("Mint.")[0].messages[: len(prompt.messages) + 1] == prompt.assistant("Mint.").messages


def test_the_sandboxs_requests_follow_from_their_seed():
    seeds = load_prompts("sandbox", 40, seed=3)
    assert len(seeds) == 40
    assert all(seed.messages[-1].role == "user" for seed in seeds)
    assert seeds == load_prompts("sandbox", 40, seed=3)
    assert seeds != load_prompts("sandbox", 40, seed=4)


def test_an_environment_starts_from_the_sandboxs_requests():
    env = ChatEnv(seeds="sandbox")
    assert {env.reset(seed=seed)[0] for seed in range(5)} <= set(load_prompts("sandbox"))


def test_a_file_that_is_not_there_or_holds_nothing_is_refused(tmp_path):
    with pytest.raises(InvalidInputError):
        load_prompts(str(tmp_path / "absent.jsonl"))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(InvalidInputError):
        load_prompts(str(empty))
