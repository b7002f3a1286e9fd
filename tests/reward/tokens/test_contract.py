import json
from math import isnan, nan

import pytest

from music.errors import InvalidInputError
from music.reward.tokens.contract import (
    CONTRACT_FILE,
    ContractError,
    RewardStatistics,
    ScoreContract,
    read_rewards,
    turn_weights,
)

CONTRACT = ScoreContract(
    chat_template_sha256="ab" * 32,
    starts_with_bos=True,
    reward_token_id=5,
    pad_token_id=0,
    max_length=512,
    readout="turn_mean",
    reference=RewardStatistics(mean=0.5, std=2.0, num_conversations=10),
)


def test_is_the_same_after_save_and_load(tmp_path):
    CONTRACT.save(tmp_path)
    assert ScoreContract.load(tmp_path / CONTRACT_FILE) == CONTRACT


@pytest.mark.parametrize(
    "change",
    [{"version": 4}, {"version": 1}, {"readout": "first"}, {"max_length": 0}, {"heat": 1}, {"read_at": "first"}],
)
def test_a_file_that_promises_something_else_is_refused(tmp_path, change):
    CONTRACT.save(tmp_path)
    path = tmp_path / CONTRACT_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ContractError, match="expected a score contract of version 1, 2 or 3"):
        ScoreContract.load(path)


@pytest.mark.parametrize(
    ("readout", "score"),
    [
        ("last", 2.0),
        ("turn_mean", (4.0 - 1.0 + 2.0) / 3),
        ("turn_min", -1.0),
        ("end_weighted", (1 * 4.0 + 2 * -1.0 + 3 * 2.0) / 6),
    ],
)
def test_a_readout_makes_a_score_of_the_rewards_of_turns(readout, score):
    assert read_rewards(readout, [4.0, -1.0, 2.0]) == pytest.approx(score)
    assert read_rewards(readout, [0.1]) == 0.1
    assert ScoreContract.model_validate(CONTRACT.model_dump() | {"readout": readout}).readout == readout


@pytest.mark.parametrize("readout", ["turn_mean", "turn_min", "end_weighted"])
def test_a_reward_that_is_no_number_shows_in_the_score(readout):
    assert all(isnan(read_rewards(readout, rewards)) for rewards in ([1.0, nan], [nan, 1.0], [-1.0, nan, 1.0]))


def test_the_lowest_reward_is_no_weighted_mean():
    with pytest.raises(InvalidInputError, match=r"last, turn_mean or end_weighted\), got turn_min"):
        turn_weights("turn_min", 3)


def test_a_mismatch_names_what_differs():
    derived = CONTRACT.model_copy(update={"starts_with_bos": False, "max_length": 9})
    with pytest.raises(ContractError, match="starts_with_bos is False but the contract says True") as error:
        CONTRACT.require(derived)
    assert "max_length" not in str(error.value)


@pytest.mark.parametrize(("version", "readout"), [(1, "last"), (2, "turn_mean")])
def test_a_contract_of_an_earlier_version_is_read_at_the_last_token(tmp_path, version, readout):
    CONTRACT.save(tmp_path)
    path = tmp_path / CONTRACT_FILE
    old = json.loads(path.read_text()) | {"version": version, "reward_token": "last"}
    del old["read_at"]
    if version == 1:
        del old["readout"]
    path.write_text(json.dumps(old))
    assert ScoreContract.load(path) == CONTRACT.model_copy(update={"readout": readout, "read_at": "last"})
