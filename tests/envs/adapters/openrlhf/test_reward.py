import json

import pytest

from music.errors import InvalidInputError
from music_envs.adapters.openrlhf import as_reward_func

MESSAGES = [{"role": "user", "content": "Name a river."}]
LABEL = json.dumps(MESSAGES)


def test_a_reward_func_scores_the_conversation_behind_the_text(tokenizer, prompt, reward_length):
    score = as_reward_func(reward_length, tokenizer, floor=-5.0)
    queries = [f"{prompt}The Rhine.<|end|>", f"{prompt}<|end|>", f"{prompt}The Elbe"]
    found = score(queries=queries, prompts=[prompt] * 3, labels=[LABEL] * 3, more=1)
    assert found["rewards"].tolist() == found["scores"].tolist() == [10.0, -5.0, 8.0]
    assert found["extra_logs"]["unscorable"].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": ["river"]}, "messages"),
        ({"labels": [json.dumps([{"role": "user", "content": "Name a tea."}])]}, "chat template renders"),
        ({"queries": ["of a river.<|end|>The Rhine."]}, "begins with its prompt"),
    ],
)
def test_text_that_is_not_surely_these_messages_is_refused(tokenizer, prompt, reward_length, changed, message):
    rows = {"queries": [f"{prompt}The Rhine."], "prompts": [prompt], "labels": [LABEL]} | changed
    with pytest.raises(InvalidInputError, match=message):
        as_reward_func(reward_length, tokenizer, floor=0.0)(**rows)
