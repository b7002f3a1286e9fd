"""Conversations of a policy as text in the policy's own chat template, as RL libraries send them.

The messages are rebuilt, so that the reward model sees them in its own template. A text that cannot be rebuilt has no
score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.encoded import EncodedConversation
from music.reward.tokens.contract import Unscorable
from music.reward.tokens.queries import read_query, replied
from music.reward.tokens.rendered import RenderedTextParser
from music.serving.items import UNREADABLE, ItemError
from music.serving.protocols.base import encode_conversations
from music.serving.served_model import ServedModel

__all__ = ["PolicyText", "encode_policy_texts", "replied_to"]


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A prompt and a policy's reply.

    Attributes:
        query: The prompt and the reply, rendered.
        prompt: The rendered prompt alone, if it is known; else empty.
        label: The label of the prompt, which may hold its messages.
    """

    query: str
    prompt: str = ""
    label: object = None


def encode_policy_texts(served: ServedModel, texts: Sequence[PolicyText]) -> list[EncodedConversation | ItemError]:
    """Encode a policy's texts for a model.

    They are read by the policy's chat template if the server is told of it, and else by the model's own.

    Raises:
        InvalidInputError: The server is told of no policy, and text in the model's own chat template cannot be split
            into messages.
    """
    return encode_conversations(served, [_read(served, text) for text in texts])


def replied_to(parser: RenderedTextParser, prompt: Conversation, reply: str) -> Conversation | ItemError:
    """Return a prompt with a reply, which loses the tokens that close it; an error if it is blank."""
    conversation = replied(prompt, parser.without_end(reply))
    advice = "start the server with --floor to give such replies a reward"
    return conversation or ItemError(Unscorable.NO_REPLY, f"the policy's reply is blank: {advice}")


def _read(served: ServedModel, text: PolicyText) -> Conversation | ItemError:
    faults = []
    for whose, parser in served.parsers.items():
        try:
            read = read_query(parser, text.query, text.prompt, text.label)
        except InvalidInputError as error:
            faults.append(f"expected text in {whose} chat template: {error}")
            continue
        if read.next_role == "assistant":
            return replied_to(parser, read, "")
        return replied_to(parser, read.prefix(len(read.messages) - 1), read.messages[-1].content)
    advice = "start the server with --policy-template and the folder of the policy's tokenizer"
    return ItemError(UNREADABLE, faults[0] if served.policy else f"{faults[0]}; {advice}")
