"""What a simulation is asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from music.errors import InvalidInputError
from music.llm.chat import AS_THE_ENDPOINT_DOES, Sampling
from music.llm.spending.budget import PriceTable
from music.prompts import (
    ContrastFormat,
    ContrastStrategy,
    PromptTemplate,
    load_contrast_template,
    load_user_template,
)
from music_agents.contrasts import ContrastSpec, Schedule, check_mix
from music_agents.quality import RefusalRule

__all__ = ["OwnPrompt", "SimulationConfig"]

DEFAULT_MIX = {"instruction": 1.0, "drop_constraint": 1.0}
"""The mixture that measured best (docs/contrasts.md); the paper's own setting is `instruction` alone."""

FREE_WITHOUT_ROWS = ("strategy", "schedule")
"""Settings that may change as long as no pair is there: the chosen sides do not depend on them."""


class OwnPrompt(BaseModel):
    """A prompt of one's own; it holds the text itself, so that any process and any machine has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Of its file, for messages."""
    source: str
    """A jinja2 template (docs/prompts.md)."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a template's file.

        Raises:
            InvalidInputError: It cannot be read.
        """
        try:
            return cls(name=str(path), source=path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"prompt {str(path)!r}: expected a readable text file: {error}") from error


class SimulationConfig(BaseModel):
    """Settings of a simulation; those of the second half may change when a run goes on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_turns: PositiveInt = 5
    """Simulated turns of each side."""
    strategy: Mapping[str, float] = Field(default_factory=lambda: dict(DEFAULT_MIX))
    """Contrasts with their weights, as `name` or `name(parameter=value)`; one is drawn for each pair."""
    schedule: str = "all"
    """Turns that are contrasted, as `music_agents.contrasts.Schedule` reads them."""
    shared_script: bool = False
    """Whether the user of the rejected side repeats what the user of the chosen side said."""
    contrast_format: ContrastFormat = ContrastFormat.TAGS
    """What contrasts with a prompt of their own ask for their reply in."""
    contrast_prompt: OwnPrompt | None = None
    """A prompt of one's own for contrasts that take one call; None for this package's."""
    user_prompt: OwnPrompt | None = None
    """Instructions of one's own for the user; None for this package's."""
    gates: bool = True
    """Whether user turns and finished pairs must pass the default gates."""
    refusals: RefusalRule = RefusalRule.REJECTED_ALONE
    """Which refusals drop a pair."""
    judge_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the pairs that the judge looks at, if there is one."""
    seed: NonNegativeInt = 0
    """Seed of seed contexts, requests and draws."""
    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature; None leaves it to the endpoint."""
    max_reply_tokens: PositiveInt | None = None
    """Bound on each reply's tokens; None leaves it to the endpoint."""
    sampling: Mapping[str, Sampling] = {}
    """How the models of single roles sample, by role, in place of `temperature` and `max_reply_tokens`."""
    shard_size: PositiveInt = 1000
    """Rows of an output file."""

    num_pairs: PositiveInt
    """Pairs wanted."""
    max_in_flight: PositiveInt = 64
    """Pairs, and so calls, in flight."""
    max_cost: float | None = Field(default=None, gt=0)
    """USD at which the run stops, failed tries included; None for no bound."""
    max_total_tokens: PositiveInt | None = None
    """Tokens of prompts and replies at which the run stops; None for no bound."""
    prices: tuple[str, ...] = ()
    """Prices as `MODEL=PROMPT:COMPLETION[:CACHED]`, in USD per million tokens."""

    @field_validator("strategy")
    @classmethod
    def _known(cls, strategy: Mapping[str, float]) -> Mapping[str, float]:
        check_mix(strategy)
        return strategy

    @field_validator("schedule")
    @classmethod
    def _can_be_read(cls, schedule: str) -> str:
        Schedule.parse(schedule)
        return schedule

    @field_validator("prices")
    @classmethod
    def _prices_can_be_read(cls, prices: tuple[str, ...]) -> tuple[str, ...]:
        PriceTable.parse(prices)
        return prices

    @model_validator(mode="after")
    def _scheduled(self) -> "SimulationConfig":
        Schedule.parse(self.schedule).check(self.num_turns)
        return self

    @model_validator(mode="after")
    def _prompted(self) -> "SimulationConfig":
        self.contrast_template()
        self.user_template()
        return self

    def sampling_of(self, role: str) -> Sampling:
        """Return how a role's model samples; a judge's does as its endpoint, unless it has settings of its own."""
        if role == "judge":
            return self.sampling.get(role, AS_THE_ENDPOINT_DOES)
        return self.sampling.get(role, Sampling(temperature=self.temperature, max_tokens=self.max_reply_tokens))

    def contrast_template(self) -> PromptTemplate | None:
        """Return the prompt of one's own for contrasts that take one call.

        Raises:
            InvalidInputError: It cannot serve, or there is no such contrast in the mixture.
        """
        own, names = self.contrast_prompt, {ContrastSpec.parse(text).name for text in self.strategy}
        if own is None:
            return None
        served = [strategy for strategy in ContrastStrategy if strategy in names]
        if not served:
            raise InvalidInputError(
                f"contrast's prompt {own.name}: expected one of the contrasts {', '.join(ContrastStrategy)} in the "
                f"mixture, which this prompt is for; got {', '.join(self.strategy)}"
            )
        return load_contrast_template(own.name, own.source, served, self.contrast_format)

    def user_template(self, *, shows_persona: bool = False) -> PromptTemplate | None:
        """Return the instructions of one's own for the user.

        Args:
            shows_persona: Whether users have personas.

        Raises:
            InvalidInputError: They cannot serve.
        """
        own = self.user_prompt
        return load_user_template(own.name, own.source, shows_persona=shows_persona) if own else None

    def fixed(self) -> dict[str, object]:
        """Return the settings that every session of a run must share, as JSON values."""
        own = {"contrast_prompt": self.contrast_template(), "user_prompt": self.user_template()}
        free = {"num_pairs", "max_in_flight", "max_cost", "max_total_tokens", "prices"}
        digests = {name: f"digest {template.digest}" if template else "" for name, template in own.items()}
        return self.model_dump(mode="json", exclude=free | own.keys()) | digests
