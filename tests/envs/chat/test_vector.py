import asyncio

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, NormalizeReward, RecordEpisodeStatistics, TransformReward

from music.errors import InvalidInputError
from music.llm.chat import EndpointUnavailableError
from music.pairs import Usage
from music_agents.failures import RoleFailedError
from music_agents.personas import Persona
from music_agents.roles import RoleTurn
from music_envs import ChatEnv, ChatVectorEnv

NUM = 3
MODES = [mode.value for mode in AutoresetMode]


def replies(step):
    return tuple(f"Reply {step} of {i}." for i in range(NUM))


@pytest.fixture
def both(seeds):
    """Make the vector environment, and as many single ones in Gymnasium's own."""

    def make(mode=AutoresetMode.NEXT_STEP, **arguments):
        arguments = {
            "num_turns": 2,
            "seeds": seeds,
            "personas": (Persona.of("A sailor."), Persona.of("A baker.")),
        } | arguments
        ours = gymnasium.make_vec("music/Chat-v0", num_envs=NUM, autoreset_mode=mode, **arguments)
        return ours, SyncVectorEnv([lambda: ChatEnv(**arguments)] * NUM, autoreset_mode=mode)

    return make


def assert_same(ours, theirs):
    assert data_equivalence(ours, theirs, exact=True), (ours, theirs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reward_mode", ["terminal", "per_turn", "difference"])
def test_it_is_step_for_step_what_single_environments_are(both, mode, reward_mode):
    ours, theirs = both(mode, reward_mode=reward_mode)
    # Users that are done at different turns, so that episodes do not end in step.
    is_done = {"is_done": lambda c: len(c.messages[-1].content) % 3 == 0, "num_turns": 4}
    for a, b in ((ours, theirs), both(mode, reward_mode=reward_mode, **is_done)):
        assert_same(a.reset(seed=3), b.reset(seed=3))
        for number in range(9):
            step = a.step(replies(number))
            assert_same(step, b.step(replies(number)))
            over = step[2] | step[3]
            if mode == "Disabled" and over.any():
                masks = ({"reset_mask": over.copy()} for _ in range(2))  # Gymnasium's takes the mask out
                assert_same(a.reset(options=next(masks)), b.reset(options=next(masks)))


@pytest.mark.parametrize("mode", MODES)
def test_users_that_fail_are_told_as_single_environments_tell_them(both, mode):
    async def user(view):
        if view.turn == 1 and view.pair == 0:
            raise RoleFailedError("lost interest")
        return RoleTurn(text=f"Go on, {view.run_seed}.", usage=Usage(1, 2, 3))

    ours, theirs = both(mode, user=user)
    assert_same(ours.reset(seed=1), theirs.reset(seed=1))
    truncated = 0
    for number in range(4):
        step = ours.step(replies(number))
        assert_same(step, theirs.step(replies(number)))
        truncated += step[3].sum()
        over = step[2] | step[3]
        if mode == "Disabled" and over.any():
            assert_same(ours.reset(options={"reset_mask": over}), theirs.reset(options={"reset_mask": over}))
    assert truncated


def test_seeds_may_be_a_list_and_none_lets_a_generator_go_on(both):
    ours, theirs = both()
    for seed in ([7, 1, 7], None, [None, 4, None]):
        assert_same(ours.reset(seed=seed), theirs.reset(seed=seed))
    observations, _ = ours.reset(seed=[7, 1, 7])
    assert observations[0] == observations[2]


def test_a_mask_resets_some_with_options_of_their_own(both):
    ours, theirs = both()
    assert_same(ours.reset(seed=0), theirs.reset(seed=0))
    for i in range(NUM):
        mask = np.arange(NUM) == i
        came = [envs.reset(seed=5, options={"reset_mask": mask, "seed_index": i}) for envs in (ours, theirs)]
        assert_same(*came)
        assert came[0][1]["seed_index"][i] == i


def test_a_mask_in_the_options_is_left_there():
    options = {"reset_mask": np.array([True, False]), "seed_index": 0}
    ChatVectorEnv(2).reset(options=options)
    assert set(options) == {"reset_mask", "seed_index"}


@pytest.mark.parametrize("mask", [[True], [1, 0, 1], np.zeros(NUM, dtype=bool), "all", np.ones((NUM, 1), dtype=bool)])
def test_other_masks_are_refused(mask):
    envs = ChatVectorEnv(NUM)
    with pytest.raises(InvalidInputError, match="reset_mask of 3 booleans"):
        envs.reset(options={"reset_mask": mask})


def step_on(envs, number):
    """Step, and where resets are left to us, reset what is over."""
    step = envs.step(replies(number))
    over = step[2] | step[3]
    if envs.unwrapped.metadata["autoreset_mode"] is AutoresetMode.DISABLED and over.any():
        envs.reset(options={"reset_mask": over})
    return step


@pytest.mark.parametrize("mode", MODES)
def test_standard_wrappers_take_it(both, mode, toy_reward):
    ours, theirs = (
        DictInfoToList(RecordEpisodeStatistics(TransformReward(envs, lambda reward: 2 * reward)))
        for envs in both(mode, reward=toy_reward)
    )
    ours.reset(seed=2)
    theirs.reset(seed=2)
    ends = 0
    for number in range(6):
        (*step, infos), (*other, other_infos) = step_on(ours, number), step_on(theirs, number)
        assert_same(step, other)
        episodes = [(a.pop("episode", {}), b.pop("episode", {})) for a, b in zip(infos, other_infos, strict=True)]
        for mine, single in episodes:
            assert (mine.get("r"), mine.get("l")) == (single.get("r"), single.get("l"))
        ends += sum(mine.get("l", 0) == 2 for mine, _ in episodes)
        assert str(infos) == str(other_infos)
    assert ends >= 2 * NUM


@pytest.mark.parametrize("mode", MODES)
def test_rewards_are_normalised_as_those_of_single_environments(both, mode, toy_reward):
    normal, theirs = (NormalizeReward(envs) for envs in both(mode, reward=toy_reward))
    normal.reset(seed=2)
    theirs.reset(seed=2)
    paid = np.array([step_on(normal, number)[1] for number in range(9)])
    assert_same(paid, np.array([step_on(theirs, number)[1] for number in range(9)]))
    assert np.ptp(paid)


async def meet_at(barrier):
    await asyncio.wait_for(barrier.wait(), 30)


def test_all_users_are_asked_at_once_and_all_is_scored_in_one_call(seeds):
    barrier, sizes = asyncio.Barrier(NUM), []

    async def user(view):
        await meet_at(barrier)  # passes once all have come
        return RoleTurn(text="Go on.", usage=Usage())

    def reward(conversations):
        sizes.append(len(conversations))
        return [0.0] * len(conversations)

    envs = ChatVectorEnv(NUM, user=user, reward=reward, reward_mode="per_turn", seeds=seeds[2:])
    envs.reset(seed=0)
    envs.step(replies(1))
    assert sizes == [NUM]


def test_other_replies_then_back_to_the_snapshots_replays_bit_by_bit(both):
    (ours, _), (other, _) = both(), both()
    moments = [ours.reset(seed=4)]
    for number in (1, 2):  # at the start, in mid-episode, and where all are over
        kept = ours.snapshot()
        here = ours.step(replies(number)), ours.step(replies(3))
        ours.step(replies(8))
        for place in (ours, other):
            assert_same(place.restore(kept), (moments[-1][0], moments[-1][-1]))
            assert_same((place.step(replies(number)), place.step(replies(3))), here)
        ours.restore(kept)
        moments.append(ours.step(replies(number)))
    assert moments[-1][2].all()
    assert_same(other.restore(ours.snapshot()), (moments[-1][0], moments[-1][-1]))


def test_snapshots_of_several_moments_are_gone_back_to_together(both):
    ours, _ = both(num_turns=4)
    ours.reset(seed=4)
    early = ours.snapshot()
    ours.step(replies(1))
    late = ours.snapshot()
    observations, infos = ours.restore((early[0], late[1], early[2]))
    assert infos["turn"].tolist() == [0, 1, 0]
    assert infos["_stop_reason"].tolist() == [False, True, False]
    assert [len(c.messages) for c in observations] == [
        len(snapshot.episode.conversation.messages) for snapshot in (early[0], late[1], early[2])
    ]


def test_snapshots_that_are_no_place_to_go_back_to_are_refused_by_name_and_harm_none(both):
    ours, _ = both(num_turns=4)
    with pytest.raises(ResetNeeded, match=r"^environment 0: the snapshot was taken before the first reset"):
        ours.restore(ours.snapshot())
    nothing = ours.snapshot()[2]
    ours.reset(seed=4)
    before = ours.snapshot()
    ours.step(replies(1))
    after = ours.snapshot()
    for snapshots, error, said in (
        ((*before[:2], nothing), ResetNeeded, "environment 2: the snapshot was taken before the first reset"),
        ((*before[:2], None), InvalidInputError, "environment 2: expected a snapshot of one environment, got NoneType"),
        (before[:2], InvalidInputError, "expected 3 snapshots, got 2"),
        (before[0], InvalidInputError, "expected 3 snapshots, got a single ChatSnapshot"),
    ):
        with pytest.raises(error, match=f"^{said}"):
            ours.restore(snapshots)
        assert ours.snapshot() == after


def test_an_environment_among_many_and_one_alone_take_each_others_snapshots(both, seeds):
    ours, _ = both(personas=())
    ours.reset(seed=4)
    alone = ChatEnv(num_turns=2, seeds=seeds)
    kept = ours.snapshot()
    alone.restore(kept[1])
    here = ours.step(("Yes.",) * NUM)[0][1]
    assert alone.step("Yes.")[0] == here
    alone.restore(kept[1])
    ours.restore((kept[0], alone.snapshot(), kept[2]))
    assert ours.step(("Yes.",) * NUM)[0][1] == here


BAD_ACTIONS = [
    (None, "as a string, got NoneType"),
    (b"Hi", "got bytes"),
    (" ", "blank"),
    ("x" * 100_001, "at most 100,000"),
]


@pytest.mark.parametrize(("action", "said"), BAD_ACTIONS)
def test_an_action_that_is_no_reply_is_refused_by_name_and_harms_none(both, action, said):
    ours, theirs = both()
    ours.reset(seed=0)
    theirs.reset(seed=0)
    with pytest.raises(InvalidInputError, match=f"^environment 2: expected .*{said}"):
        ours.step(("Yes.", "No.", action))
    assert_same(ours.step(replies(1)), theirs.step(replies(1)))


@pytest.mark.parametrize(
    ("actions", "came"),
    [((), "0"), (("Yes.", "No."), "2"), (("Yes.",) * 4, "4"), ("Yes", "a single str"), (None, "a single NoneType")],
)
def test_as_many_replies_as_environments_are_expected(actions, came):
    envs = ChatVectorEnv(NUM)
    envs.reset(seed=0)
    with pytest.raises(InvalidInputError, match=f"expected 3 replies, got {came}"):
        envs.step(actions)


def test_an_episode_that_is_over_is_named_where_resets_are_left_to_you():
    envs = ChatVectorEnv(2, autoreset_mode="Disabled", num_turns=1)
    with pytest.raises(ResetNeeded, match=r"^environment 0: "):
        envs.step(("Yes.", "No."))
    envs.reset(seed=0)
    envs.step(("Yes.", "No."))
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"^environment 1: "):
        envs.step(("Yes.", "No."))


def test_after_a_reset_that_failed_no_old_episode_goes_on(scripted):
    model = scripted(fails=frozenset(range(2, 100)))
    envs = ChatVectorEnv(2, user=model)
    envs.reset(seed=0)
    with pytest.raises(EndpointUnavailableError):
        envs.reset(seed=1)
    with pytest.raises(ResetNeeded):
        envs.step(("Yes.", "No."))


def test_a_score_that_is_no_use_is_an_error_and_leaves_all_where_they_stood(both):
    scores = [float("nan")]

    def reward(conversations):
        return [scores.pop() if scores else 1.0 for _ in conversations]

    ours, theirs = both(reward=reward, reward_mode="per_turn")
    ours.reset(seed=0)
    theirs.reset(seed=0)
    with pytest.raises(InvalidInputError, match="finite scores"):
        ours.step(replies(1))
    assert_same(ours.step(replies(1)), theirs.step(replies(1)))


@pytest.mark.parametrize("seed", [[1, 2], [1, 2, 3, 4]])
def test_as_many_seeds_as_environments_are_expected(seed):
    with pytest.raises(InvalidInputError, match=f"expected 3 seeds, got {len(seed)}"):
        ChatVectorEnv(NUM).reset(seed=seed)


@pytest.mark.parametrize("num_envs", [0, -1, 1.5, "2", None])
def test_no_environments_are_refused(num_envs):
    with pytest.raises(InvalidInputError, match=f"num_envs to be a whole number of at least 1, got {num_envs!r}"):
        ChatVectorEnv(num_envs)


def test_unknown_modes_are_refused_and_the_modes_are_named():
    with pytest.raises(InvalidInputError, match="of NextStep, SameStep, Disabled, got 'never'"):
        ChatVectorEnv(2, autoreset_mode="never")
    with pytest.raises(InvalidInputError, match="'ansi', got 'human'"):
        ChatVectorEnv(2, render_mode="human")


def test_closed_environments_say_so():
    envs = ChatVectorEnv(2)
    envs.reset(seed=0)
    envs.close()
    envs.close()
    for call in (lambda: envs.step(("Yes.", "No.")), lambda: envs.reset(seed=0)):
        with pytest.raises(ClosedEnvironmentError, match="is closed: make another one"):
            call()


def test_transcripts_are_rendered():
    envs = gymnasium.make_vec("music/Chat-v0", num_envs=2, render_mode="ansi")
    envs.reset(seed=0)
    assert [text[:6] for text in envs.render()] == ["user: ", "user: "]
    assert ChatVectorEnv(2).render() is None


def test_observations_and_sampled_actions_belong_to_the_spaces(both):
    ours, _ = both()
    observations, _ = ours.reset(seed=0)
    assert observations in ours.observation_space
    ours.action_space.seed(1)
    actions = ours.action_space.sample()
    assert len(set(actions)) == NUM
    assert ours.step(actions)[0] in ours.observation_space


async def test_it_works_inside_a_running_event_loop(both):
    ours, theirs = both()
    assert_same(ours.reset(seed=0), theirs.reset(seed=0))
    assert_same(ours.step(replies(1)), theirs.step(replies(1)))
