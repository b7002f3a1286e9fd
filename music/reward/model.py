"""`RewardModel`: conversations to raw scalar rewards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import nn
from transformers import PreTrainedModel

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.contract import ContractError, ScoreContract
from music.reward.forward import score_rows
from music.reward.loading import load_checkpoint, quiet_transformers
from music.reward.tokens import ConversationTokenizer, Encoding, Unscorable

__all__ = ["RewardModel", "UnscorableError", "count_text", "resolve_device"]


class UnscorableError(InvalidInputError):
    """A conversation has no score: it is too long, or the model's chat template refuses it."""


def resolve_device(name: str | None = None) -> torch.device:
    """Return the device asked for, or CUDA where there is one, or else the CPU.

    Raises:
        InvalidInputError: There is no such device here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise InvalidInputError(f"expected a device such as cpu or cuda, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInputError(f"device {name!r} was asked for, but torch finds no CUDA device here")
    return device


def count_text(classifier: PreTrainedModel) -> str:
    """Write a model's number of parameters for people."""
    count = classifier.num_parameters()
    return f"{count / 1e6:,.1f}M parameters" if count >= 1_000_000 else f"{count / 1e3:.0f}k parameters"


class RewardModel:
    """A reward model for whole conversations.

    It is itself a plain callable reward: `model(conversations)` is `model.score(conversations)`.

    Example:
        >>> model = RewardModel.from_pretrained("runs/rm")  # doctest: +SKIP
        >>> model.score([Conversation().user("Hi!").assistant("Hello.")])  # doctest: +SKIP
        [0.73]
    """

    def __init__(self, classifier: PreTrainedModel, tokens: ConversationTokenizer, device: str | None = None) -> None:
        """Wrap a causal sequence classifier with one label and its path from messages to tokens."""
        self._device = resolve_device(device)
        self._classifier = classifier
        _place(classifier, self._device)
        self._tokens = tokens

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Load a reward model from a folder or the hub.

        Args:
            path: Folder or hub id of a sequence classifier with one label, in safetensors.
            device: CUDA where there is one, else the CPU, if not given.
            dtype: bf16 on CUDA, fp32 on the CPU, if not given.

        Raises:
            InvalidInputError: There is no such checkpoint, or it is no reward model.
            ContractError: Its tokenizer does not keep its score contract.
        """
        on_cuda = resolve_device(device).type == "cuda"
        loaded = load_checkpoint(path, dtype=dtype or (torch.bfloat16 if on_cuda else torch.float32))
        return cls(loaded.classifier, loaded.tokens, device)

    @property
    def contract(self) -> ScoreContract:
        """What the scores depend on besides the weights."""
        return self._tokens.contract

    @property
    def tokens(self) -> ConversationTokenizer:
        """The path from messages to tokens."""
        return self._tokens

    @property
    def description(self) -> str:
        """Architecture, size, device and dtype, for people to read."""
        dtype = str(self._classifier.dtype).removeprefix("torch.")
        return f"{type(self._classifier).__name__} ({count_text(self._classifier)}) on {self._device} in {dtype}"

    def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
        """Score conversations; see `score`."""
        return self.score(conversations)

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return one raw reward per conversation, each of which must end with the assistant.

        Rewards do not depend on what else is in the batch, beyond rounding.

        Raises:
            UnscorableError: A conversation has no score (see `Unscorable`).
        """
        encodings = self.encode(conversations)
        return [scores[0] for scores in self._score_rows([encoding.ids for encoding in encodings])]

    def score_turns(self, conversations: Sequence[Conversation]) -> list[list[float]]:
        """Return, per conversation, the reward after each assistant turn, from one forward pass.

        Each equals the score of the conversation cut after that turn.

        Raises:
            UnscorableError: A conversation has no score.
            ContractError: The chat template renders a history differently once more turns follow, so that no single
                pass can give the scores of the cut conversations.
        """
        prefixes = iter(self.encode([c.prefix(end) for c in conversations for end in c.turn_ends]))
        plans = [_rows_of_turns([next(prefixes) for _ in c.turn_ends]) for c in conversations]
        scores = iter(
            self._score_rows([ids for plan in plans for ids, _ in plan], [e for plan in plans for _, e in plan])
        )
        return [[score for _ in plan for score in next(scores)] for plan in plans]

    def score_candidates(self, history: Conversation, candidates: Sequence[str]) -> list[float]:
        """Score each candidate reply to a history that ends with the user."""
        return self.score([history.assistant(candidate) for candidate in candidates])

    def encode(self, conversations: Sequence[Conversation]) -> list[Encoding]:
        """Return the tokens that are scored, oldest exchanges dropped where a conversation is too long.

        Raises:
            UnscorableError: A conversation is empty, ends with the user, or is `Unscorable`.
        """
        for index, conversation in enumerate(conversations):
            if not conversation.messages or conversation.messages[-1].role != "assistant":
                raise UnscorableError(f"conversation {index}: expected it to end with the assistant")
        encodings = self._tokens.encode(conversations)
        for index, encoding in enumerate(encodings):
            if isinstance(encoding, Unscorable):
                limit = f"max_length {self.contract.max_length}" if encoding is Unscorable.OVER_LONG else "template"
                raise UnscorableError(f"conversation {index} cannot be scored: {encoding} ({limit})")
        return [encoding for encoding in encodings if isinstance(encoding, Encoding)]

    def save_pretrained(self, directory: str | Path) -> None:
        """Save a vanilla `AutoModelForSequenceClassification` checkpoint, its tokenizer and the score contract."""
        directory = Path(directory)
        with quiet_transformers():
            self._classifier.save_pretrained(directory)
        self._tokens.tokenizer.save_pretrained(directory)
        self.contract.save(directory)

    def _score_rows(self, rows: list[list[int]], ends: list[list[int]] | None = None) -> list[list[float]]:
        return score_rows(
            self._classifier,
            rows,
            ends=ends,
            pad_token_id=self.contract.pad_token_id,
            device=self._device,
        )


def _place(classifier: nn.Module, device: torch.device) -> None:
    """Move a model and put it in eval mode (`PreTrainedModel` overrides these with types that say less)."""
    classifier.to(device)
    classifier.train(False)


def _rows_of_turns(prefixes: Sequence[Encoding]) -> list[tuple[list[int], list[int]]]:
    """Plan the rows that give every prefix's reward: all untruncated prefixes share the longest one's row."""
    whole = [prefix.ids for prefix in prefixes if not prefix.num_dropped_turns]
    for ids in whole:
        if whole[-1][: len(ids)] != ids:
            raise ContractError(
                "the chat template renders a history differently once more turns follow, so scores per turn would not "
                "be those of the conversation cut there: use a template whose prefixes stay as they are"
            )
    shared = [(whole[-1], [len(ids) - 1 for ids in whole])] if whole else []
    return shared + [(p.ids, [len(p.ids) - 1]) for p in prefixes if p.num_dropped_turns]
