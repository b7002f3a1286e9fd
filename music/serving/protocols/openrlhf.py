"""OpenRLHF's `POST /get_reward`: rewards for a policy's text.

`scores` equals `rewards`, as in OpenRLHF's own server. OpenRLHF calls it a number between 0 and 1, which dynamic
filtering compares with `--algo.dynamic_filtering_range`. A reward model has no such number, and a sigmoid would make
all good replies alike. Set that range in rewards.

OpenRLHF's client does not read the body of an error. It logs the status line of each of its five tries, then one more
line, and leaves the reward None, on which training stops later. So errors have status 400, and the status line of a
response holds the reason (see `music.serving.server`). A policy that may reply with nothing needs `--floor`.
"""

from functools import partial
from typing import Any, Self

from pydantic import model_validator

from music.serving.pending import Answer
from music.serving.protocols.base import ProtocolModel, Query, RefusedError, ScoringProtocol, require_scores
from music.serving.protocols.policy_text import PolicyText, encode_policy_texts

__all__ = ["OpenRlhfProtocol"]


class RewardRequest(ProtocolModel):
    """A policy's texts."""

    query: list[str]
    """Prompts with replies, in the policy's chat template, special tokens included."""
    prompts: list[str] | None = None
    """The prompts alone, in the same template. What follows a prompt is the reply."""
    labels: list[Any] | None = None
    """The prompts' labels. One that holds messages, or JSON text of them, says what the prompt's messages are."""

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        for name, values in (("prompts", self.prompts), ("labels", self.labels)):
            if values and len(values) != len(self.query):
                raise ValueError(f"expected as many {name} as queries, {len(self.query)}, got {len(values)}")
        return self


class ExtraLogs(ProtocolModel):
    """What OpenRLHF logs beside the rewards."""

    num_tokens: list[float]
    """Number of tokens that each reward depends on."""
    num_dropped_turns: list[float]
    """Number of oldest exchanges that were dropped because the conversation was too long."""
    unscorable: list[float]
    """1 for each conversation without a score, whose reward is the floor; else 0."""


class RewardResponse(ProtocolModel):
    """The rewards in the order of the request."""

    rewards: list[float]
    """Raw scores."""
    scores: list[float]
    """The same, for dynamic filtering."""
    extra_logs: ExtraLogs


class OpenRlhfProtocol(ScoringProtocol):
    """OpenRLHF's remote reward model."""

    path = "/get_reward"
    summary = "OpenRLHF's remote reward model: score a policy's text."
    request = RewardRequest
    response = RewardResponse

    def query(self, body: RewardRequest) -> Query:
        """Return what a request asks for."""
        nothing = [""] * len(body.query)
        rows = zip(body.query, body.prompts or nothing, body.labels or nothing, strict=True)
        texts = [PolicyText(*row) for row in rows]
        return Query(len(texts), partial(encode_policy_texts, texts=texts), body)

    def write(self, query: Query, answer: Answer) -> dict[str, Any]:
        """Return the rewards."""
        rewards = require_scores(answer)
        logs = {
            "num_tokens": [float(each.num_tokens) for each in answer.results],
            "num_dropped_turns": [float(each.num_dropped_turns) for each in answer.results],
            "unscorable": [float(each.error is not None) for each in answer.results],
        }
        return {"rewards": rewards, "scores": rewards, "extra_logs": logs}

    def refuse(self, error: RefusedError) -> dict[str, Any]:
        """Return an error, in FastAPI's shape, as OpenRLHF's own server does."""
        return {"detail": error.message}
