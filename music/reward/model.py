"""`RewardModel`: conversations to raw scalar rewards."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Self

import torch
from torch import nn
from transformers import PreTrainedModel

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.encoded import EncodedConversation, encode_each, sequences_of_turns
from music.reward.loading import count_text, fingerprint, load_checkpoint, save_model, saved_dtype
from music.reward.scoring.cached_scorer import make_sequence_scorer
from music.reward.scoring.deterministic_scorer import DeterministicScorer
from music.reward.scoring.device import resolve_device
from music.reward.scoring.forward import row_tokens
from music.reward.scoring.self_test import make_scorer
from music.reward.scoring.states import ModelMemory, affordable_tokens
from music.reward.session import RewardSession
from music.reward.tokens.contract import ReadAt, Readout, ScoreContract, Scored, Unscorable, read_rewards
from music.reward.tokens.encoding import ConversationTokenizer

__all__ = ["RewardModel"]


class RewardModel:
    """A reward model for whole conversations.

    It is a plain callable reward too: `model(conversations)` is `model.score(conversations)`.

    Example:
        >>> model = RewardModel.from_pretrained("runs/rm")  # doctest: +SKIP
        >>> model.score([Conversation().user("Hi!").assistant("Hello.")])  # doctest: +SKIP
        [0.73]
    """

    def __init__(
        self,
        classifier: PreTrainedModel,
        tokens: ConversationTokenizer,
        device: str | None = None,
        attention: str | None = None,
    ) -> None:
        """Wrap a causal sequence classifier with one label.

        Args:
            classifier: The classifier. Its attention is replaced by a back-end for packed rows, which saved checkpoints
                do not mention.
            tokens: The path from messages to tokens. Its score contract says how rewards become scores.
            device: As in `from_pretrained`.
            attention: As in `from_pretrained`.
        """
        self._device = resolve_device(device)
        self._classifier = classifier
        module: nn.Module = classifier  # PreTrainedModel overrides `to` with a vaguer type
        module.to(self._device)
        self._scorer = make_scorer(classifier, attention)
        self._sequences = make_sequence_scorer(self._scorer)
        self._tokens = tokens

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        attention: str | None = None,
        chat_template: str | None = None,
        read_at: ReadAt | None = None,
    ) -> Self:
        """Load a reward model from a folder or the hub.

        Args:
            path: Folder or hub id of a sequence classifier with one label, in safetensors.
            device: Where to compute. By default CUDA if it is available, else the CPU.
            dtype: Type of the weights. By default that of the saved weights on CUDA, and fp32 on the CPU. With merged
                adapters, bf16 can lose most of the adapters' update.
            attention: Back-end (see `music.reward.attention`). By default the fastest that works on the device.
            chat_template: A file or a name (see `music.chat_template`), for a checkpoint without a chat template.
            read_at: Where the reward is read, for a checkpoint without a score contract (see `ScoreContract.read_at`).
                By default the checkpoint decides.

        Raises:
            InvalidInputError: There is no such checkpoint, or it is not a reward model.
            ContractError: Its tokenizer does not match its score contract.
        """
        on_cuda = resolve_device(device).type == "cuda"
        dtype = dtype or (saved_dtype(path) if on_cuda else torch.float32)
        loaded = load_checkpoint(path, dtype=dtype, chat_template=chat_template, read_at=read_at)
        return cls(loaded.classifier, loaded.tokens, device, attention)

    @property
    def contract(self) -> ScoreContract:
        """The score contract: what scores depend on besides the weights."""
        return self._tokens.contract

    @property
    def tokens(self) -> ConversationTokenizer:
        """The path from messages to tokens."""
        return self._tokens

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._device

    @property
    def description(self) -> str:
        """Architecture, size, device, dtype, attention, kind of scoring and place of the reward, as readable text."""
        name, dtype = type(self._classifier).__name__, str(self._classifier.dtype).removeprefix("torch.")
        size, backend = count_text(self._classifier), self._scorer.backend
        cached = self._sequences.max_cached_tokens
        cache = f", prefix cache of {cached:,} tokens" if cached else ""
        place = self._tokens.place
        read = f", reward read at {place}" if self.contract.read_at != "last" else ""
        exact = ", deterministic scores" if self.is_deterministic else ""
        return f"{name} ({size}) on {self._device} in {dtype}, attention {backend}{cache}{exact}{read}"

    @property
    def max_cached_tokens(self) -> int:
        """Most tokens whose keys and values are kept from call to call; 0 without a prefix cache."""
        return self._sequences.max_cached_tokens

    @property
    def memory(self) -> ModelMemory:
        """The memory that scoring takes."""
        return ModelMemory.of(self._classifier, self._sequences.max_cached_tokens, row_tokens(self._device))

    @property
    def fingerprint(self) -> str:
        """A hash of what scores depend on: weights, configuration and contract. It is computed at each access."""
        return fingerprint(self._classifier, self.contract)

    @property
    def is_deterministic(self) -> bool:
        """Whether scores are bitwise reproducible (see `with_deterministic_scores`)."""
        return isinstance(self._sequences, DeterministicScorer)

    @property
    def num_computed_tokens(self) -> int:
        """Number of tokens that this model has computed. Tokens that conversations share count once."""
        return self._sequences.num_computed_tokens

    def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
        """Score conversations; see `score`."""
        return self.score(conversations)

    def score(self, conversations: Sequence[Conversation], *, names: Sequence[str] | None = None) -> list[float]:
        """Return one score per conversation, each of which must end with the assistant.

        The contract's `readout` says how rewards become the score. Scores do not depend on what else is in the batch,
        beyond rounding. Beginnings that conversations share are computed once if they fit into one row.

        Args:
            conversations: Conversations in any order.
            names: Their names in errors.

        Raises:
            UnscorableError: A conversation has no score (see `Unscorable`).
            ContractError: The readout needs every turn, and the template rewrote a conversation's history.
        """
        encodings = self._tokens.encode_all(conversations, names=names)
        rewards = self._sequences.rewards([encoding.sequence for encoding in encodings])
        return [read_rewards(self.contract.readout, each) for each in rewards]

    def score_each(self, conversations: Sequence[Conversation], *, per_turn: bool = False) -> list[Scored]:
        """Score conversations as `score` does, but return a problem instead of raising `UnscorableError`.

        A conversation that is empty or ends with the user has no score (`Unscorable.NO_REPLY`).

        Args:
            conversations: Conversations in any order.
            per_turn: Whether to return the reward after each assistant turn too, as `score_turns` does. A conversation
                then has a problem if any of its turns has one.

        Raises:
            ContractError: As `score`, and with `per_turn` as `score_turns`.
        """
        return self.score_encoded(self.encode(conversations, per_turn=per_turn))

    def fits(self, conversations: Sequence[Conversation]) -> list[bool]:
        """Return whether each conversation is scored as a whole: no exchange is dropped because of `max_length`."""
        encodings = self._tokens.encode(conversations, every_turn=False, remember=True)
        return [each is not Unscorable.OVER_LONG and not getattr(each, "num_dropped_turns", 0) for each in encodings]

    def encode(self, conversations: Sequence[Conversation], *, per_turn: bool = False) -> list[EncodedConversation]:
        """Do the first half of `score_each`, which needs no model: a server does it while the model is busy.

        Raises:
            ContractError: As `score_each`.
        """
        return encode_each(self._tokens, conversations, per_turn=per_turn)

    def score_encoded(self, encoded: Sequence[EncodedConversation]) -> list[Scored]:
        """Do the second half of `score_each`: score conversations that this model's `encode` returned."""
        sequences = [sequence for each in encoded for sequence in each.sequences]
        rewards = iter(self._sequences.rewards(sequences))
        return [each.scored(self.contract.readout, [next(rewards) for _ in each.sequences]) for each in encoded]

    def score_turns(self, conversations: Sequence[Conversation]) -> list[list[float]]:
        """Return, per conversation, the reward after each assistant turn, from one forward pass.

        Each equals the score of the conversation cut after that turn, by the readout `last`.

        Raises:
            UnscorableError: A conversation has no score.
            ContractError: The chat template renders a history differently once more turns follow, so that no single
                pass can give the scores of the cut conversations.
        """
        cut = [c.prefix(end) for c in conversations for end in c.turn_ends]
        names = [f"conversation {i}, turn {t}" for i, c in enumerate(conversations) for t in range(c.num_turns)]
        prefixes = iter(self._tokens.encode_all(cut, every_turn=False, names=names))
        parts = [sequences_of_turns([next(prefixes) for _ in c.turn_ends]) for c in conversations]
        rewards = iter(self._sequences.rewards([sequence for sequences in parts for sequence in sequences]))
        return [[reward for _ in sequences for reward in next(rewards)] for sequences in parts]

    def score_candidates(self, history: Conversation, candidates: Sequence[str]) -> list[float]:
        """Score each candidate reply to a history that ends with the user; the history is computed once.

        Equal to `score` of the whole conversations. For the turns that follow, see `session`.

        Raises:
            UnscorableError: A conversation with a candidate has no score.
        """
        return self.session(history).score_candidates(candidates)

    def session(self, history: Conversation) -> RewardSession:
        """Start a session, which scores candidates turn after turn and computes each token of the history once.

        Raises:
            InvalidInputError: The history does not end with the user.
        """
        return RewardSession(self if self._sequences.max_cached_tokens else self.with_prefix_cache(), history)

    def with_prefix_cache(self, max_tokens: int | None = None, *, frozen: bool = False) -> "RewardModel":
        """Return this model with a prefix cache; the weights are shared.

        Use it to score conversations as they grow, as in Best-of-N or with rewards per turn. The cache keeps the keys
        and values of tokens from call to call, and drops the least recently used ones first. Of each conversation, only
        what follows its longest cached beginning is computed. Scores are the same, up to rounding. If a template
        renders a history differently, or exchanges are dropped from the left, only what precedes the difference is
        reused.

        Weights may change. They are compared at every call, and states of other weights are dropped.

        Args:
            max_tokens: Most tokens to keep. By default as many as fit into 1 GiB, or on CUDA into a quarter of the
                memory that is free now (see `affordable_tokens`).
            frozen: Whether the weights never change, so that they are not compared. Comparing reads all weights, which
                takes longer than a forward pass of a short reply.

        Raises:
            InvalidInputError: `max_tokens` is less than 1.
        """
        if max_tokens is not None and max_tokens < 1:
            raise InvalidInputError(f"with_prefix_cache: expected max_tokens of at least 1, got {max_tokens}")
        if self.is_deterministic:
            return self.with_deterministic_scores(max_tokens, frozen=frozen)
        num = max_tokens or affordable_tokens(self._classifier)
        model = copy(self)
        model._sequences = make_sequence_scorer(self._scorer, num, frozen=frozen)
        return model

    def with_deterministic_scores(self, max_tokens: int | None = None, *, frozen: bool = False) -> "RewardModel":
        """Return this model with bitwise reproducible scores; the weights are shared.

        A conversation's score is the same in every bit whatever is scored with it, in which order, and what was scored
        before. With the readout `last`, it is also the last reward of `score_turns`, and the score of the reply among
        candidates. Several processes agree if machine type, versions, dtype and number of threads
        (`torch.set_num_threads`) are the same. Such scores differ from normal ones by rounding.

        Tokens are computed in chunks of 160 on the CPU and 256 on CUDA, one at a time. The last chunk of a conversation
        is filled up to the next quarter. A turn that ends within a chunk takes a shorter chunk of its own. The model
        has a prefix cache, which keeps whole chunks.

        In two cases only the score of the same whole conversation is guaranteed to be the same. A mixture of experts
        rounds by the tokens that share an expert, so a turn's reward can differ from the score of the conversation cut
        there. A model with `longrope` scores each conversation as one chunk.

        Args:
            max_tokens: As in `with_prefix_cache`; 0 keeps nothing from call to call.
            frozen: As in `with_prefix_cache`.

        Raises:
            InvalidInputError: `max_tokens` is negative, or the model attends with `flex`.
        """
        if max_tokens is not None and max_tokens < 0:
            raise InvalidInputError(f"with_deterministic_scores: expected max_tokens of at least 0, got {max_tokens}")
        num = affordable_tokens(self._classifier) if max_tokens is None else max_tokens
        model = copy(self)
        model._sequences = DeterministicScorer(self._scorer, num, frozen=frozen)
        return model

    def with_own_weights(self) -> Self:
        """Copy weights that are mapped from the checkpoint's files into memory, and return this model.

        On the CPU, loading maps files where types agree. If the files are then written in place, the weights change. If
        they get shorter, the process dies. A process that outlives its checkpoint copies them.
        """
        for tensor in (*self._classifier.parameters(), *self._classifier.buffers()):
            if tensor.device.type == "cpu":
                tensor.data = tensor.data.clone()
        return self

    def with_readout(self, readout: Readout) -> "RewardModel":
        """Return this model with another readout and without reference statistics; weights and cache are shared.

        Raises:
            ContractError: The readout needs every turn, and the chat template rewrites a history.
        """
        if readout == self.contract.readout:
            return self
        model = copy(self)
        model._tokens = self._tokens.with_contract(readout=readout, reference=None)
        return model

    def save_pretrained(self, directory: str | Path) -> None:
        """Save a vanilla `AutoModelForSequenceClassification` checkpoint, its tokenizer and the score contract."""
        save_model(self._classifier, self._tokens.tokenizer, directory)
        self.contract.save(Path(directory))
