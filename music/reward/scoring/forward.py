"""Packed rows to rewards: the backbone, then the head in fp32 at the tokens where rewards are read."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.reward.attention import PackedAttentionError, Past, SegmentTable, choose_backend, use_backend
from music.reward.attention.flex import BLOCK
from music.reward.packing import PackedRow
from music.reward.scoring.rope import RopeLimits, split_row

__all__ = ["PackedScorer", "row_tokens"]

# On the CPU rows of 1k to 4k tokens are equally fast (small rows stay in its cache). GPU kernels need long rows.
_MAX_TOKENS = {"cpu": 2_048, "cuda": 16_384}


def row_tokens(device: torch.device) -> int:
    """Return about how many tokens a row should have on a device."""
    return _MAX_TOKENS.get(device.type, _MAX_TOKENS["cpu"])


class PackedScorer(nn.Module):
    """A sequence classifier that reads packed rows. Its parameters are those of the classifier.

    Args:
        classifier: A causal sequence classifier with one label, whose head is called `score`.
        backend: Back-end of attention; by default the fastest that works on the classifier's device.

    Raises:
        InvalidInputError: The classifier is not a model of transformers, but wrapped around one, for example.
        PackedAttentionError: The classifier's class cannot attend to packed rows.
    """

    def __init__(self, classifier: PreTrainedModel, backend: str | None = None) -> None:
        super().__init__()
        if not isinstance(classifier, PreTrainedModel):
            raise InvalidInputError(
                f"expected a sequence classifier of transformers, got {type(classifier).__name__}. If it is a "
                "wrapper of peft, pass `model.merge_and_unload()`"
            )
        if not hasattr(classifier, "score"):
            raise PackedAttentionError(
                f"{type(classifier).__name__} cannot be packed: expected a causal sequence classifier, "
                "with a head called `score`"
            )
        self.classifier = classifier
        self.rope = RopeLimits.of(classifier.config)
        self.use(choose_backend(classifier.device, backend))

    def use(self, backend: str) -> None:
        """Switch to another back-end of attention.

        Raises:
            PackedAttentionError: The classifier's class cannot attend to packed rows.
        """
        self.backend = backend
        use_backend(self.classifier, backend)

    def forward(self, row: PackedRow) -> Tensor:
        """Return the raw rewards of a row, `[num_reads]`, in fp32 whatever the backbone computes in.

        Raises:
            PackedAttentionError: A layer of the model ignored the segments, so the rewards would be wrong.
        """
        return self.head(self.states(row))

    def states(self, row: PackedRow) -> Tensor:
        """Return the hidden states at a row's reads, `[num_reads, hidden_size]`, in the dtype of the backbone.

        Raises:
            PackedAttentionError: As `forward`.
        """
        passes = split_row(row, self.rope.boundary)
        states = torch.cat([self._states(each) for each, _ in passes])
        if len(passes) == 1:
            return states
        order = torch.cat([places for _, places in passes]).argsort()
        return states[order.to(states.device)]

    def _states(self, row: PackedRow) -> Tensor:
        hidden = self.hidden(row, SegmentTable.of(row))
        return hidden[row.reads().to(hidden.device)]

    def hidden(self, row: PackedRow, table: SegmentTable, past: Past | None = None) -> Tensor:
        """Return the backbone's last hidden states, `[num_tokens, hidden_size]`.

        Args:
            row: The row.
            table: Which tokens see which.
            past: The keys and values of cached tokens, if the table has any.

        Raises:
            PackedAttentionError: As `forward`.
        """
        classifier: Any = self.classifier
        self._require_length(row)
        backbone = getattr(classifier, classifier.base_model_prefix)
        num_filled = -row.num_tokens % BLOCK if self.backend == "flex" else 0
        input_ids = nn.functional.pad(row.input_ids(), (0, num_filled)).to(classifier.device)[None]
        positions = nn.functional.pad(row.positions(), (0, num_filled)).to(classifier.device)[None]
        output = backbone(input_ids=input_ids, position_ids=positions, use_cache=False, segments=table, past=past)
        num_layers = classifier.config.get_text_config().num_hidden_layers
        if len(table.attended) != num_layers:
            raise PackedAttentionError(
                f"{type(classifier).__name__}: {len(table.attended)} of {num_layers} layers attended by segments, so "
                "sequences of a packed row would see each other: only models whose layers all attend can be packed"
            )
        hidden: Tensor = output.last_hidden_state[0, : row.num_tokens]
        return hidden

    def _require_length(self, row: PackedRow) -> None:
        """Refuse a sequence that is so long that `dynamic` rope changes its frequencies."""
        longest = max(segment.position + len(segment.ids) for tree in row.trees for segment in tree.segments)
        if self.rope.longest is not None and longest > self.rope.longest:
            raise PackedAttentionError(
                f"expected sequences of at most {self.rope.longest} tokens, got one of {longest}: beyond that length "
                f"{type(self.classifier).__name__} changes its rotary frequencies with each length (`dynamic`). Lower "
                "max_length"
            )

    def head(self, hidden: Tensor) -> Tensor:
        """Return the raw rewards `[num_reads]` of hidden states `[num_reads, hidden_size]`, in fp32."""
        head: Any = self.classifier.score
        with torch.autocast(hidden.device.type, enabled=False):
            rewards: Tensor = hidden.float() @ head.weight[0].float()
            if head.bias is not None:
                rewards = rewards + head.bias.float()
            return rewards
