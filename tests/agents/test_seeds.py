from collections import Counter

import pytest

from music.errors import InvalidInputError
from music_agents.seed_contexts import SeedContexts
from music_agents.seeds import digest_seeds


def test_a_seed_context_is_a_prefix_of_the_chosen_side_that_ends_with_the_assistant(seeds):
    by_id = {pair.id: pair for pair in seeds}
    contexts = SeedContexts(seeds, 0)
    for index in range(50):
        context = contexts[index]
        conversation = context.conversation
        assert conversation == by_id[context.seed_id].chosen.prefix(len(conversation.messages))
        assert conversation.messages[-1].role == "assistant"
        assert context.seed.id == context.seed_id


def test_every_pair_is_used_once_a_round_in_an_order_of_the_run_seed(seeds):
    contexts = SeedContexts(seeds, 0)
    first, second = ([contexts[i + start].seed_id for i in range(7)] for start in (0, 7))
    assert sorted(first) == sorted(second) == sorted(pair.id for pair in seeds)
    assert any([SeedContexts(seeds, s)[i].seed_id for i in range(7)] != first for s in range(1, 4))


def test_prefixes_are_drawn_evenly_and_anew_in_each_round(seeds):
    contexts = SeedContexts(seeds, 5)
    three_turns = {pair.id for pair in seeds if pair.chosen.num_turns == 3}
    lengths = Counter(contexts[i].conversation.num_turns for i in range(3000) if contexts[i].seed_id in three_turns)
    assert set(lengths) == {1, 2, 3}
    assert max(lengths.values()) < 1.3 * min(lengths.values())


def test_no_seeds_are_refused():
    with pytest.raises(InvalidInputError, match="at least one"):
        SeedContexts([], 0)


def test_the_digest_sees_text_ids_and_order(seeds):
    changed = [seeds[0].model_copy(update={"chosen": seeds[1].chosen}), *seeds[1:]]
    renamed = [seeds[0].model_copy(update={"id": "other"}), *seeds[1:]]
    digests = {digest_seeds(pairs) for pairs in (seeds, seeds[::-1], seeds[:-1], changed, renamed)}
    assert len(digests) == 5
    assert digest_seeds(list(seeds)) == digest_seeds(seeds)
