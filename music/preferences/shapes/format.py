"""`Format`: the names of the shapes of rows."""

from enum import StrEnum

from music.errors import InvalidInputError

__all__ = ["Format", "parse_format"]


class Format(StrEnum):
    """Known shapes of rows; further columns are allowed in each. Which columns each has: `music.preferences.shapes`."""

    SKYWORK = "skywork"
    """`chosen`, `rejected`: whole conversations. TRL's conversational format with an implicit prompt, argilla's sets
    and the rows of `music simulate` have this shape too."""
    HH = "hh"
    r"""`chosen`, `rejected`: transcripts, "\n\nHuman: ...\n\nAssistant: ..."; or `prompt` one, and the replies text."""
    ULTRAFEEDBACK = "ultrafeedback"
    """`prompt`: the user's message; `chosen`, `rejected`: replies as text, or whole conversations."""
    TRL = "trl"
    """`prompt`: messages; `chosen`, `rejected`: the messages that follow."""
    ALPACA = "alpaca"
    """`instruction`, perhaps `input`, `system`, `history`; `chosen`, `rejected`: replies (LLaMA-Factory)."""
    SHAREGPT = "sharegpt"
    """`conversations`: messages; `chosen`, `rejected`: the message that follows (LLaMA-Factory)."""
    AXOLOTL = "axolotl"
    """`messages`; `chosen`, `rejected`: the message that follows."""
    MS_SWIFT = "ms-swift"
    """`messages`: the chosen conversation; `rejected_response`: another last reply, or several."""
    MS_SWIFT_MESSAGES = "ms-swift-messages"
    """`messages`, `rejected_messages`: whole conversations."""
    PKU = "pku-saferlhf"
    """`prompt`, `response_0`, `response_1`, `better_response_id`."""
    HELPSTEER3 = "helpsteer3"
    """`context`: messages; `response1`, `response2`, `overall_preference`: below 0 for the first."""
    HELPSTEER2_PREFERENCE = "helpsteer2-preference"
    """`prompt`, `response_1`, `response_2`, `preference_strength`: below 0 for the first."""
    SHP = "shp"
    """`history`, `human_ref_A`, `human_ref_B`, `labels`: 1 for A."""
    WEBGPT = "webgpt"
    """`question`, `answer_0`, `answer_1`, `score_0`, `score_1`."""
    ARENA = "arena"
    """`conversation_a`, `conversation_b`, `winner`; cut after `turn`, where there is one."""
    NECTAR = "nectar"
    """`prompt`, `answers`: `{answer, rank}`, the best of rank 1."""
    COMPLETIONS = "ultrafeedback-raw"
    """`instruction`, `completions`: `{response, overall_score}`."""
    HELPSTEER2 = "helpsteer2"
    """`prompt`, `response`, `helpfulness`; consecutive rows of one prompt are compared."""
    OASST = "oasst"
    """`prompt`: a tree of messages, each with its `replies` and their `rank`, the best of rank 0."""
    MESSAGES = "messages"
    """`messages`: one conversation; no pair."""
    CONVERSATIONS = "conversations"
    """`conversations`: one conversation; no pair."""
    PROMPT = "prompt"
    """`prompt`: text or messages; no pair."""
    EXCHANGES = "exchanges"
    """`history`: a list of `[request, reply]`, or of `{user, bot}` (MT-Bench-101); no pair."""


def parse_format(name: str | None) -> Format | None:
    """Return the format of a name; None for None.

    Raises:
        InvalidInputError: There is none of that name.
    """
    if name is None:
        return None
    if name not in set(Format):
        raise InvalidInputError(f"--format: expected one of {', '.join(Format)}; got {name!r}")
    return Format(name)
