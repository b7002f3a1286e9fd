"""`RemoteReward` with each of its protocols, against a server."""

import pytest

from music.reward import RemoteReward


@pytest.mark.parametrize("protocol", ["music", "vllm", "sglang", "openai-embeddings", "openrlhf"])
def test_each_protocol_gives_the_models_scores_and_no_warning(server, checkpoint, talks, expected, caplog, protocol):
    assert RemoteReward(str(checkpoint), server, protocol=protocol)(talks) == expected
    assert not caplog.records
