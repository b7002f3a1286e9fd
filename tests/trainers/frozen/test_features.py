"""Hidden states equal those of plain transformers, and only those of the same model and contract are used again."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.loading import load_checkpoint
from music_trainers.frozen import FrozenBackbone
from music_trainers.frozen.cache import StateCache

SHARED = Conversation().user("Name a fruit.").assistant("An apple.").user("And a second one?")
CONVERSATIONS = [
    SHARED.assistant("A pear."),
    SHARED.assistant("The plan is to walk.").user("Really?").assistant("Yes."),
    Conversation().user("What is the weather?").assistant("It is good."),
]


@pytest.fixture
def load(base):
    """Return a function that loads the base, with a head by seed, as a frozen backbone."""

    def loading(folder, seed=0, change=lambda classifier: None, **settings):
        loaded = load_checkpoint(base, dtype=torch.float32, head_seed=seed, **settings)
        change(loaded.classifier)
        return FrozenBackbone(loaded, folder, device="cpu")

    return loading


def test_states_are_those_of_transformers_at_the_ends_of_turns(base, load, tmp_path):
    backbone = load(tmp_path)
    model = AutoModel.from_pretrained(base, attn_implementation="eager").eval()
    tokenizer = load_checkpoint(base, dtype=torch.float32, head_seed=0).tokens.tokenizer
    for conversation, states in zip(CONVERSATIONS, backbone.turns(CONVERSATIONS), strict=True):
        assert states.shape == (conversation.num_turns, model.config.hidden_size)
        for end, state in zip(conversation.turn_ends, states, strict=True):
            text = tokenizer.apply_chat_template(conversation.prefix(end).to_messages(), tokenize=False)
            inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
            with torch.no_grad():
                expected = model(**inputs).last_hidden_state[0, -1]
            np.testing.assert_allclose(state, expected.numpy(), atol=2e-5)


def test_a_state_is_computed_once_and_beginnings_share_theirs(load, tmp_path):
    first = load(tmp_path)
    states = first.turns(CONVERSATIONS)
    assert (first.num_computed, first.num_cached) == (5, 0)  # of 6 turns, two are the same
    again = load(tmp_path, seed=1)  # another head
    for ours, theirs in zip(again.turns(CONVERSATIONS), states, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (again.num_computed, again.num_cached) == (0, 5)
    longer = CONVERSATIONS[0].user("Why?").assistant("Of course.")
    again.turns([longer])
    assert (again.num_computed, again.num_cached) == (1, 7)


def test_the_readout_and_the_longest_length_share_states(load, tmp_path):
    load(tmp_path).turns(CONVERSATIONS)
    other = load(tmp_path, readout="turn_mean", max_length=100)
    other.turns(CONVERSATIONS)
    assert other.num_computed == 0


def test_states_of_changed_weights_are_not_used(load, tmp_path):
    def nudge(classifier):
        with torch.no_grad():
            classifier.model.layers[0].mlp.up_proj.weight[0, 0] += 0.5

    before = load(tmp_path).turns(CONVERSATIONS)
    changed = load(tmp_path, change=nudge)
    assert changed.has_states_of_others_alone
    after = changed.turns(CONVERSATIONS)
    assert (changed.num_computed, changed.num_cached) == (5, 0)
    assert [load(tmp_path).has_states_of_others_alone, load(tmp_path / "new").has_states_of_others_alone] == [False] * 2
    assert not any(np.array_equal(ours, theirs) for ours, theirs in zip(before, after, strict=True))


def test_states_under_another_contract_are_not_used(load, tmp_path):
    before = load(tmp_path)
    before.turns(CONVERSATIONS)
    template = tmp_path / "other.jinja"
    template.write_text(before._tokens.tokenizer.chat_template.replace("{{ m['content'] }}", "- {{ m['content'] }}"))
    other = load(tmp_path, chat_template=str(template))
    other.turns(CONVERSATIONS)
    assert (other.num_computed, other.num_cached) == (5, 0)
    assert other.folder != before.folder


def test_equal_tokens_with_different_reads_each_get_theirs(load, tmp_path):
    backbone = load(tmp_path)
    (encoding,) = backbone._tokens.encode_all(CONVERSATIONS[1:2], every_turn=True)
    (last,) = backbone._tokens.encode_all(CONVERSATIONS[1:2], every_turn=False)
    every, only_last = backbone.states([encoding.sequence, last.sequence])
    np.testing.assert_array_equal(every[-1:], only_last)


def test_a_file_in_place_of_the_folder_is_refused(load, tmp_path):
    (tmp_path / "states").write_text("")
    with pytest.raises(
        InvalidInputError, match=r"states: expected a folder for hidden states \(--features\), got a file"
    ):
        load(tmp_path / "states")


def test_a_damaged_shard_is_named_with_the_remedy(load, tmp_path):
    backbone = load(tmp_path)
    backbone.turns(CONVERSATIONS)
    (shard,) = backbone.folder.iterdir()
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(InvalidInputError, match=rf"{shard.name}.*damaged.*delete it") as error:
        StateCache(backbone.folder)
    shard.unlink()
    assert len(StateCache(backbone.folder)) == 0
    assert str(shard) in str(error.value)


def test_states_that_are_no_numbers_are_refused(load, tmp_path):
    def ruin(classifier):
        classifier.model.norm.weight.data[:] = torch.nan

    backbone = load(tmp_path)
    ruin(backbone._scorer.classifier)
    with pytest.raises(InvalidInputError, match="finite numbers"):
        backbone.turns(CONVERSATIONS)
