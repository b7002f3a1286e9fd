"""What a simulation is asked for."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from music.llm.spending.budget import PriceTable
from music_agents.contrasts import Schedule, check_mix
from music_agents.quality import RefusalRule

__all__ = ["SimulationConfig"]

DEFAULT_MIX = {"instruction": 1.0, "drop_constraint": 1.0}
"""The mixture that measured best (docs/contrasts.md); the paper's own setting is `instruction` alone."""


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
    shard_size: PositiveInt = 1000
    """Rows of an output file."""

    num_pairs: PositiveInt
    """Pairs wanted."""
    max_in_flight: PositiveInt = 64
    """Pairs, and so calls, in flight."""
    max_cost: float | None = Field(default=None, gt=0)
    """USD at which the run stops; None for no bound."""
    max_tokens: PositiveInt | None = None
    """Tokens of prompts and replies at which the run stops; None for no bound."""
    prices: tuple[str, ...] = ()
    """Prices as `MODEL=PROMPT:COMPLETION`, in USD per million tokens."""

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

    def fixed(self) -> dict[str, object]:
        """Return the settings that every session of a run must share, as JSON values."""
        free = {"num_pairs", "max_in_flight", "max_cost", "max_tokens", "prices"}
        return self.model_dump(mode="json", exclude=free)
