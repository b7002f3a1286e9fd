"""`POST /slime`: one reward for one sample of slime's `--rm-type remote_rm --rm-url URL/slime`.

slime uses the answer, a number, as the reward. A failed request is tried ten times, and then ends the rollout; its log
has the status line (see `music.serving.server`). A policy that may reply with nothing needs `--floor`.
"""

from functools import partial
from typing import Any

from music.errors import InvalidInputError
from music.reward.encoded import EncodedConversation
from music.reward.tokens.queries import as_prompt
from music.serving.items import INVALID, ItemError
from music.serving.pending import Answer
from music.serving.protocols.base import (
    ProtocolModel,
    Query,
    RefusedError,
    ScoringProtocol,
    encode_conversations,
    require_scores,
)
from music.serving.protocols.policy_text import PolicyText, encode_policy_texts, replied_to
from music.serving.served_model import ServedModel

__all__ = ["SlimeProtocol"]


class SampleRequest(ProtocolModel):
    """A sample."""

    prompt: str | list[dict[str, Any]]
    """The prompt: messages, or text in the policy's chat template (`--apply-chat-template`)."""
    response: str
    """The policy's reply; special tokens may close it."""
    label: Any = None
    """The prompt's label. If it holds messages, or JSON text of them, they are those of a prompt of text."""


class SlimeProtocol(ScoringProtocol):
    """slime's remote reward model."""

    path = "/slime"
    summary = "slime's remote reward model: score one sample."
    request = SampleRequest
    response = float

    def query(self, body: SampleRequest) -> Query:
        """Return what a request asks for."""
        if isinstance(body.prompt, str):
            texts = [PolicyText(body.prompt + body.response, body.prompt, body.label)]
            return Query(1, partial(encode_policy_texts, texts=texts), body)
        return Query(1, partial(_encode_messages, body=body), body)

    def write(self, query: Query, answer: Answer) -> float:
        """Return the reward."""
        return require_scores(answer)[0]

    def refuse(self, error: RefusedError) -> dict[str, Any]:
        """Return an error."""
        return {"detail": error.message}


def _encode_messages(served: ServedModel, body: SampleRequest) -> list[EncodedConversation | ItemError]:
    """Encode a sample whose prompt is messages.

    Raises:
        InvalidInputError: As `encode_policy_texts`.
    """
    try:
        asked = as_prompt(body.prompt)
    except InvalidInputError as error:
        return [ItemError(INVALID, str(error))]
    parser = next(iter(served.parsers.values()))
    return encode_conversations(served, [replied_to(parser, asked, body.response)])
