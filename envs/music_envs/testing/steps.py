"""Playing an environment: `RecordedStep`, playing an episode, comparing episodes exactly, and `BrokenRuleError`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from gymnasium.utils.env_checker import data_equivalence

from music.conversation import Conversation
from music.testing import CheckError

__all__ = ["BrokenRuleError", "RecordedStep", "begin", "play", "play_on", "require_same", "shorten"]

MAX_TURNS = 100


class BrokenRuleError(CheckError):
    """An environment breaks a rule of chat environments.

    Attributes:
        rule: Name of the rule.
    """

    def __init__(self, rule: str, expected: str, got: object) -> None:
        super().__init__(rule, expected, got)
        self.rule = rule

    def __str__(self) -> str:
        """Return the rule, what it expects, and the value it got."""
        return f"rule {self.rule!r}: expected {self.args[1]}, got {shorten(self.args[2])}"


def shorten(value: object) -> str:
    """Return a value as text for a message, cut to 500 characters."""
    if isinstance(value, Exception):
        value = f"{type(value).__name__}: {value}"
    text = str(value.to_messages()) if isinstance(value, Conversation) else repr(value)
    return text if len(text) <= 500 else f"{text[:500]}..."


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStep:
    """The result of a reset (an observation and an info) or of a step."""

    observation: Conversation
    info: dict[str, Any]
    action: str = ""
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the episode ends here."""
        return self.terminated or self.truncated


def play(env: Any, seed: int | None = None) -> list[RecordedStep]:
    """Play an episode; the replies depend only on the turn."""
    return play_on(env, [begin(env, seed)])


def begin(env: Any, seed: int | None = None, options: dict[str, Any] | None = None) -> RecordedStep:
    """Begin an episode."""
    observation, info = env.reset(seed=seed, options=options)
    return RecordedStep(observation=observation, info=info)


def play_on(env: Any, steps: Sequence[RecordedStep]) -> list[RecordedStep]:
    """Play an episode from its last step to its end."""
    steps = list(steps)
    while not steps[-1].is_over:
        if len(steps) > MAX_TURNS:
            raise BrokenRuleError("turns", f"an end within {MAX_TURNS} replies", "none")
        action = f"This is reply number {len(steps)}."
        observation, reward, terminated, truncated, info = env.step(action)
        ends = {"terminated": terminated, "truncated": truncated}
        steps.append(RecordedStep(observation=observation, info=info, action=action, reward=float(reward), **ends))
    return steps


def require_same(rule: str, when: str, expected: Sequence[RecordedStep], got: Sequence[RecordedStep]) -> None:
    """Require exactly equal steps."""
    for turn, (wanted, came) in enumerate(zip(expected, got, strict=False)):
        for name in (field.name for field in fields(RecordedStep)):
            one, another = getattr(wanted, name), getattr(came, name)
            if not data_equivalence(one, another, exact=True):
                raise BrokenRuleError(rule, f"{name} {shorten(one)} in turn {turn} {when}", another)
    if len(expected) != len(got):
        raise BrokenRuleError(rule, f"{len(expected) - 1} replies {when}", len(got) - 1)
