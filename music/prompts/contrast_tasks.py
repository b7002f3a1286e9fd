"""What the contrasts' prompts ask for: in which words, for which parts, in which format."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from music.prompts.part_names import INSTRUCTION, RESPONSE
from music.prompts.parts import ContrastFormat, Part

__all__ = ["ASKS", "TASKS", "ContrastTask", "write_parts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastTask:
    """What a contrast's prompt asks for.

    Attributes:
        head: How the prompt begins, by which it is recognised.
        body: What to write, below the message.
        parts: The parts of the reply, each with the words that hold its place in the prompt.
    """

    head: str
    body: str
    parts: dict[str, str]

    def asked(self, form: ContrastFormat) -> str:
        """Return the end of the prompt, which asks for a format."""
        return f"{ASKS[form]}\n\n{write_parts(self.parts, form)}"


ASKS = {
    ContrastFormat.TAGS: "Use exactly this format:",
    ContrastFormat.JSON: "Answer with one JSON object and nothing else, in exactly this form:",
}
"""How each format is asked for."""


def write_parts(parts: Mapping[str, str], form: ContrastFormat) -> str:
    """Write the parts of a reply in a format."""
    if form is ContrastFormat.JSON:
        return json.dumps(parts, ensure_ascii=False)
    return "\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in parts.items())


TASKS = {
    Part.INSTRUCTION: ContrastTask(
        head="Below is the user's latest message. Answer a modified version of it.",
        body="First write a modified instruction: highly related to the message, yet not the same request, so that a "
        "perfect answer to it would be a poor answer to the message. Then answer the modified instruction as well as "
        "you can, in the light of the conversation so far. The answer must stand on its own and must not mention the "
        "modification.",
        parts={INSTRUCTION: "the modified instruction", RESPONSE: "the answer to the modified instruction"},
    ),
    Part.DROP_CONSTRAINT: ContrastTask(
        head="Below is the user's latest message. Answer it, but drop a standing constraint.",
        body="Look through the user's earlier messages for constraints and wishes that still hold (form, length, tone, "
        "how to be addressed, what to include or avoid, facts about the user). First write a modified instruction: the "
        "same request as the message, with one or more of those constraints dropped or changed. Then answer that, as "
        "well as you can; the answer must not mention the change. If nothing was stated earlier, modify the request "
        "itself a little instead.",
        parts={
            INSTRUCTION: "the request, with what was dropped or changed",
            RESPONSE: "the answer to the modified instruction",
        },
    ),
    Part.PERSONA_SWAP: ContrastTask(
        head="Below is the user's latest message. Answer it as if another user had written it.",
        body="Imagine another user who could have sent this message, but who is not the one of this conversation: with "
        "another goal, another level of knowledge, other facts about themselves and other wishes for the replies. "
        "First write a modified instruction: the message as that other user would have meant it. Then answer that "
        "other user as well as you can, naturally, and without mentioning the change; the answer should plainly not "
        "suit the user of this conversation.",
        parts={
            INSTRUCTION: "the message, as the other user would have meant it",
            RESPONSE: "the answer to the other user",
        },
    ),
    Part.REWRITE: ContrastTask(
        head="Below is the user's latest message. Rewrite it into a modified version of it.",
        body="The modified version is highly related to the message, in the user's own voice and of about the same "
        "length, yet not the same request: a perfect answer to it would be a poor answer to the message. Do not answer "
        "either of them.",
        parts={INSTRUCTION: "the modified version"},
    ),
}
