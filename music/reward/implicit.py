"""`ImplicitReward`: what a policy trained with DPO rewards (Rafailov et al. 2023, equation 5, without `Z`).

The reward of a conversation is `beta * (log pi(y) - log ref(y))`, summed over the tokens that the assistant writes in
all turns, with the token that ends each turn. The history of all turns before is given. Replies to one prompt can be
compared; rewards of different prompts cannot, because the term that DPO cancels depends on the prompt.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import torch
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.names import find_model
from music.quiet import quiet_transformers
from music.reward.scoring.device import resolve_device
from music.reward.tokens.contract import Scored, Unscorable, UnscorableError
from music.reward.tokens.template import own_template, template_texts

__all__ = ["ImplicitReward"]


class ImplicitReward:
    """The log-likelihood ratio of a policy and its reference, as a reward.

    Args:
        policy: The policy.
        reference: The model that its training started from, with the same tokenizer.
        tokenizer: The policy's tokenizer; its chat template renders the conversations.
        beta: The factor; DPO's own, if rewards should be on its scale.
        description: What is loaded, for people.
        fingerprint: What identifies the weights of both.

    Example:
        >>> reward = ImplicitReward.from_pretrained("runs/dpo", "base")  # doctest: +SKIP
        >>> reward([Conversation().user("Hi!").assistant("Hello.")])  # doctest: +SKIP
        [0.42]
    """

    def __init__(
        self, policy: Any, reference: Any, tokenizer: Any, *, beta: float = 0.1, description: str = "", fingerprint: str
    ) -> None:
        self.beta, self.description, self.fingerprint = beta, description, fingerprint
        self._models = [policy.eval(), reference.eval()]
        self._tokenizer = tokenizer
        longest = (getattr(model.config, "max_position_embeddings", 1 << 31) for model in self._models)
        self._max_length = min(longest)

    @classmethod
    def from_pretrained(
        cls, policy: str | Path, reference: str | Path, *, beta: float = 0.1, device: str | None = None
    ) -> Self:
        """Load both models, from folders or the hub; in bfloat16 on a GPU, else in float32.

        Raises:
            InvalidInputError: There is no such causal language model, or the two tokenizers differ.
        """
        place = resolve_device(device)
        tokenizer, other = (_load(AutoTokenizer, str(path)) for path in (policy, reference))
        if tokenizer.get_vocab() != other.get_vocab():
            raise InvalidInputError(
                f"{reference}: expected the tokenizer of {policy}, as both models read the same tokens; it differs"
            )
        own_template(tokenizer)
        dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
        kept = {"dtype": dtype, "use_safetensors": True}
        models = [_load(AutoModelForCausalLM, str(path), **kept).to(place) for path in (policy, reference)]
        return cls(
            models[0],
            models[1],
            tokenizer,
            beta=beta,
            description=f"beta {beta:g} * log-likelihood ratio of {policy} to {reference}, on {place.type}, {dtype}",
            fingerprint=_fingerprint(models, tokenizer, beta),
        )

    def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return one reward for each conversation.

        Raises:
            UnscorableError: A conversation has no reward.
        """
        scored = self.score_each(conversations)
        for place, each in enumerate(scored):
            if each.problem is not None:
                raise UnscorableError(f"conversation {place}: {each.problem}")
        return [each.score for each in scored if each.score is not None]

    def score_each(self, conversations: Sequence[Conversation]) -> list[Scored]:
        """Return one reward for each conversation, or why it has none."""
        return [self._score(conversation) for conversation in conversations]

    def _score(self, conversation: Conversation) -> Scored:
        if not conversation.messages or conversation.messages[-1].role != "assistant":
            return Scored(None, problem=Unscorable.NO_REPLY)
        try:
            ids, is_written = self._tokens(conversation)
        except TemplateError:
            return Scored(None, problem=Unscorable.TEMPLATE_REFUSED)
        if len(ids) > self._max_length:
            return Scored(None, problem=Unscorable.OVER_LONG)
        policy, reference = (_log_likelihood(model, ids, is_written) for model in self._models)
        return Scored(self.beta * (policy - reference))

    def _tokens(self, conversation: Conversation) -> tuple[list[int], list[bool]]:
        """Return the tokens of a conversation, and which of them the assistant writes; `[tokens]` each."""
        places = [place for place, message in enumerate(conversation.messages) if message.role == "assistant"]
        text = template_texts(self._tokenizer, [conversation])[0]
        spans = []
        for place in places:
            before = self._render(conversation.prefix(place), add_generation_prompt=True)
            after = self._render(conversation.prefix(place + 1))
            if not (text.startswith(before) and text.startswith(after)):
                raise InvalidInputError(
                    "expected a chat template that renders the start of a conversation as it renders the whole, so "
                    f"that the assistant's tokens can be found; it changes message {place}; use a template that keeps "
                    "all turns"
                )
            spans.append((len(before), len(after)))
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        return encoded["input_ids"], [any(low < end and start < high for low, high in spans) for start, end in offsets]

    def _render(self, conversation: Conversation, **options: Any) -> str:
        return template_texts(self._tokenizer, [conversation], **options)[0]


def _load(kind: Any, path: str, **options: Any) -> Any:
    try:
        with quiet_transformers():
            return kind.from_pretrained(find_model(path, "language_model"), trust_remote_code=False, **options)
    except (OSError, ValueError, SafetensorError) as error:
        why = str(error).partition("\n")[0]
        raise InvalidInputError(f"{path}: expected a causal language model (safetensors): {why}") from error


@torch.inference_mode()
def _log_likelihood(model: Any, ids: Sequence[int], is_written: Sequence[bool]) -> float:
    """Return the sum of the log-probabilities of the written tokens, given all tokens before each."""
    tokens = torch.tensor([ids], device=model.device)
    logits = model(input_ids=tokens).logits[0, :-1].float()
    chosen = logits.gather(1, tokens[0, 1:, None])[:, 0] - logits.logsumexp(1)
    return float(chosen[torch.tensor(is_written[1:], device=model.device)].double().sum())


def _fingerprint(models: Sequence[Any], tokenizer: Any, beta: float) -> str:
    digest = sha256(f"dpo {beta} {own_template(tokenizer)}".encode())
    for model in models:
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
