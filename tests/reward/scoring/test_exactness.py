"""Packed rows give the rewards, the loss and the gradients of plain forwards of one sequence each, in fp32.

The negative tests make the mistakes that are silent, and see them: the sequences here would tell.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from music.reward.packing import PackedRow, TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer

TOLERANCE = 1e-5
# FlexAttention is compiled for each model and shape, which takes long, and a C++ compiler on the CPU.
without_compiler = torch.compiler.set_stance("force_eager")
ROW = 200

Rewards = list[list[Tensor]]
Groups = list[list[TokenSequence]]


def packed_rewards(scorer: PackedScorer, groups: Groups, max_tokens: int = ROW) -> Rewards:
    found: Rewards = [[] for _ in groups]
    for row in plan_rows(groups, max_tokens).rows:
        for group, rewards in zip(row.groups, row.split(scorer(row)), strict=True):
            found[group] = rewards
    return found


def flat(rewards: Rewards) -> Tensor:
    return torch.cat([each for group in rewards for each in group])


def loss_of(rewards: Rewards) -> Tensor:
    """Bradley-Terry at the ends, the first of a group over the others, with all reads held near 0."""
    margins = torch.cat([group[0][-1:] - other[-1:] for group in rewards for other in group[1:]])
    return -torch.nn.functional.logsigmoid(margins).mean() + flat(rewards).square().mean()


def gradients(classifier: PreTrainedModel, loss: Tensor) -> dict[str, Tensor]:
    classifier.zero_grad()
    loss.backward()
    return {name: weights.grad.clone() for name, weights in classifier.named_parameters() if weights.grad is not None}


def assert_same_training(classifier: PreTrainedModel, groups: Groups, expected: Rewards, found: Rewards) -> None:
    losses = loss_of(expected), loss_of(found)
    torch.testing.assert_close(flat(found), flat(expected), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=TOLERANCE)
    wanted, got = (gradients(classifier, loss) for loss in losses)
    assert wanted.keys() == got.keys() == dict(classifier.named_parameters()).keys()
    for name in wanted:
        torch.testing.assert_close(
            got[name], wanted[name], rtol=0, atol=TOLERANCE, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_rewards_loss_and_gradients(
    family: str, make_classifier: Callable[..., PreTrainedModel], make_groups: Any, plain_rewards: Any
):
    classifier, groups = make_classifier(family), make_groups(1)
    plan = plan_rows(groups, ROW)
    assert len(plan.rows) > 1
    assert plan.num_tokens < 0.75 * plan.num_sequence_tokens
    expected = plain_rewards(classifier, groups)
    assert flat(expected).std() > 0.1
    assert_same_training(classifier, groups, expected, packed_rewards(PackedScorer(classifier, "gather"), groups))


def test_groups_that_begin_alike_are_joined(
    family: str, make_classifier: Callable[..., PreTrainedModel], make_groups: Any, plain_rewards: Any
):
    classifier = make_classifier(family)
    system = [1 + i * i % 90 for i in range(30)]
    groups = [
        [TokenSequence([*system, *each.ids], tuple(30 + read for read in each.reads)) for each in group]
        for group in make_groups(5)
    ]
    (row,) = plan_rows(groups, 1000).rows
    assert len(row.trees) == 1 < len(row.groups)
    expected = plain_rewards(classifier, groups)
    found = packed_rewards(PackedScorer(classifier, "gather"), groups, 1000)
    assert_same_training(classifier, groups, expected, found)


def test_gradient_checkpointing(
    family: str, make_classifier: Callable[..., PreTrainedModel], make_groups: Any, plain_rewards: Any
):
    classifier, groups = make_classifier(family), make_groups(2)
    expected = plain_rewards(classifier, groups)
    scorer = PackedScorer(classifier, "gather").train()
    loss = loss_of(expected)
    wanted = gradients(classifier, loss)
    classifier.activation_checkpointing_enable({"use_reentrant": False})
    assert classifier.is_gradient_checkpointing
    found = packed_rewards(scorer, groups)
    torch.testing.assert_close(flat(found), flat(expected), rtol=0, atol=TOLERANCE)
    got = gradients(classifier, loss_of(found))
    assert wanted.keys() == got.keys()
    for name in wanted:
        torch.testing.assert_close(got[name], wanted[name], rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_sequences_longer_than_a_block_of_queries(
    family: str, make_classifier: Callable[..., PreTrainedModel], plain_rewards: Any
):
    shared = [3 + i * i % 89 for i in range(160)]
    sequences = [shared + [5 + i * k % 83 for i in range(150)] for k in (1, 2)]
    groups = [[TokenSequence(ids, (10, 127, 128, 180, len(ids) - 1)) for ids in sequences]]
    classifier = make_classifier(family, max_position_embeddings=512)
    expected = plain_rewards(classifier, groups)
    (row,) = plan_rows(groups, 1000).rows
    found = PackedScorer(classifier, "gather")(row)
    torch.testing.assert_close(found, flat(expected), rtol=0, atol=TOLERANCE)


@without_compiler
@torch.no_grad()
def test_flex_forward(
    family: str, make_classifier: Callable[..., PreTrainedModel], make_groups: Any, plain_rewards: Any
):
    """Rows are filled up to a multiple of 128. FlexAttention has no backward pass on the CPU, so none is tested."""
    classifier, groups = make_classifier(family), make_groups(3, num_groups=2)
    expected = plain_rewards(classifier, groups)
    assert all(row.num_tokens % 128 for row in plan_rows(groups, ROW).rows)
    found = packed_rewards(PackedScorer(classifier, "flex"), groups)
    torch.testing.assert_close(flat(found), flat(expected), rtol=0, atol=TOLERANCE)


def test_varlen_on_an_emulated_kernel(
    family: str,
    make_classifier: Callable[..., PreTrainedModel],
    make_groups: Any,
    plain_rewards: Any,
    emulated_flash: None,
):
    classifier, groups = make_classifier(family), make_groups(4)
    expected = plain_rewards(classifier, groups)
    assert_same_training(classifier, groups, expected, packed_rewards(PackedScorer(classifier, "varlen"), groups))


def seen(row: PackedRow, window: int | None, *, by_index: bool = False) -> Tensor:
    """Who sees whom, `[num_tokens, num_tokens]`, written out from the paths of the trees."""
    sees = torch.zeros(row.num_tokens, row.num_tokens, dtype=torch.bool)
    for tree, starts in zip(row.trees, row.starts, strict=True):
        spans = [range(at, at + len(segment.ids)) for at, segment in zip(starts, tree.segments, strict=True)]
        for own, span in enumerate(spans):
            for query in span:
                keys = [key for each in tree.path(own) for key in spans[each] if key <= query]
                sees[
                    query,
                    [key for key in keys if query - key < window] if window and by_index else keys[-(window or 0) :],
                ] = True
    return sees


MASKS: dict[str, Callable[[PackedRow, int], Any]] = {
    "right": lambda row, window: {
        "full_attention": additive(seen(row, None)),
        "sliding_attention": additive(seen(row, window)),
    },
    "window by packed index": lambda row, window: {
        "full_attention": additive(seen(row, None)),
        "sliding_attention": additive(seen(row, window, by_index=True)),
    },
    "bool masks in eager attention": lambda row, window: {
        "full_attention": seen(row, None)[None, None],
        "sliding_attention": seen(row, window)[None, None],
    },
    "one 4D mask for all layers": lambda row, _: additive(seen(row, None)),
    "plain causal over the row": lambda row, _: torch.ones(1, row.num_tokens, dtype=torch.long),
    "no mask, restarting positions": lambda row, _: None,
}


def additive(sees: Tensor) -> Tensor:
    return torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]


@pytest.mark.parametrize("mask", MASKS)
@torch.no_grad()
def test_mistakes_that_are_silent_would_be_seen(
    mask: str, make_classifier: Callable[..., PreTrainedModel], make_groups: Any, plain_rewards: Any
):
    classifier: Any = make_classifier("gemma2")
    groups = make_groups(1, num_groups=2)
    expected = flat(plain_rewards(classifier, groups))
    (row,) = plan_rows(groups, 1000).rows
    assert row.groups == (0, 1)
    output = classifier.base_model(
        input_ids=row.input_ids()[None],
        position_ids=row.positions()[None],
        attention_mask=MASKS[mask](row, classifier.config.sliding_window),
        use_cache=False,
    )
    found = classifier.score(output.last_hidden_state[0, row.reads()]).squeeze(-1)
    error = float((found - expected).abs().max())
    assert error <= TOLERANCE if mask == "right" else error > 1e-3
