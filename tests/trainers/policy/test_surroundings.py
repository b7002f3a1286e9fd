import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.model import RewardModel
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.loading import LoadedPolicy
from music_trainers.policy.rollouts import roll_out
from music_trainers.policy.sampling import sample_replies
from music_trainers.policy.surroundings import Surroundings

SMALL = {"num_groups": 2, "group_size": 2, "num_turns": 3, "updates_per_step": 1, "max_reply_tokens": 8}
SMALL |= {"num_evaluations": 3}


@pytest.fixture
def meet(tmp_path):
    """Return what opens the surroundings of a policy, and plays its training episodes."""

    def meet(prompts=(), report=lambda _: None, **settings):
        config = PolicyTrainingConfig(out=tmp_path, **(SMALL | settings))
        policy = LoadedPolicy.load(config)

        def generate(asked):
            return sample_replies(policy.model, policy.tokens, asked, max_tokens=config.max_reply_tokens, greedy=True)

        with Surroundings.open(config, policy, prompts, report) as around:
            seeds = range(around.training.num_envs)
            return [roll_out(around.training, policy.tokens, generate, seeds, around.rules) for _ in range(2)]

    return meet


def test_a_reward_model_computes_each_turn_once(meet, count_tokens, monkeypatch):
    models = []
    load = RewardModel.from_pretrained.__func__

    def loaded(cls, *args, **kwargs):
        models.append(load(cls, *args, **kwargs))
        counting.append(count_tokens(models[-1]))
        counts.append(counting[-1].__enter__())
        return models[-1]

    counting, counts = [], []
    monkeypatch.setattr(RewardModel, "from_pretrained", classmethod(loaded))
    played, again = meet()
    assert len(models) == 1  # training and held-out episodes share it
    computed = sum(counts[0])
    lengths = [
        len(models[0].tokens.encode([row.conversation.prefix(end)], every_turn=False)[0].ids)
        for row in [*played, *again]
        for end in row.conversation.turn_ends
    ]
    whole = [len(models[0].tokens.encode([row.conversation], every_turn=False)[0].ids) for row in [*played, *again]]
    assert computed < 0.75 * sum(lengths)  # without a cache every turn computes its whole history
    assert computed >= sum(whole) / 2
    assert [row.rewards for row in played] == [row.rewards for row in again]  # in every bit


def test_an_episode_ends_where_the_reward_model_would_drop_turns(meet, monkeypatch):
    (free, _) = meet()
    limit = 60
    load = RewardModel.from_pretrained.__func__

    def loaded(cls, *args, **kwargs):
        model = load(cls, *args, **kwargs)
        model._tokens = model._tokens.with_contract(max_length=limit)
        return model

    monkeypatch.setattr(RewardModel, "from_pretrained", classmethod(loaded))
    (bound, _) = meet()
    assert any(row.is_full for row in bound)
    for row, whole in zip(bound, free, strict=True):
        assert len(row.rewards) < 3 or not row.is_full
        assert row.rewards == pytest.approx(whole.rewards[: len(row.rewards)], abs=1e-4)
        assert row.conversation.messages[-1].role == "assistant"


def test_prompts_without_room_for_a_reply_are_left_out_and_counted(meet):
    short = [Conversation().user(f"One tip for {topic}?") for topic in ("rose", "lawn", "bread")]
    long = Conversation().user("Two tips for tomato gear? " * 30)
    lines = []
    (played, _) = meet([*short, long], lines.append, max_length=80)
    assert {row.conversation.messages[0].content for row in played} <= {each.messages[0].content for each in short}
    assert lines == ["1 of 3 prompts have more than 71 tokens: left out, as there is no room for a reply"]
    with pytest.raises(InvalidInputError, match="prompts that leave room"):
        meet([long, long], max_length=80)
    with pytest.raises(InvalidInputError, match="at least two prompts"):
        meet([long])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_length": 10**6}, "--max-length 1000000: expected at most 2048"),
        ({"max_reply_tokens": 4096}, "--max-reply-tokens 4096: expected fewer"),
    ],
)
def test_lengths_that_the_policy_cannot_read_are_refused(meet, settings, words):
    with pytest.raises(InvalidInputError, match=words):
        meet(**settings)
