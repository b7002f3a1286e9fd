"""How a judge is named, how and how often it is asked, and what it may cost."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from music.llm.chat import Sampling
from music.llm.openai import ClientSettings
from music.llm.options import RequestOptions
from music.llm.spending.budget import PriceTable
from music.prompts import load_template

__all__ = ["JudgeKind", "JudgeSettings", "read_judge"]

JudgeKind = Literal["rating", "comparing"]
_KINDS: dict[str, JudgeKind] = {"judge:": "rating", "judge-pairs:": "comparing"}


class JudgeSettings(BaseModel):
    """How a judge is asked, how often, and what it may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="judge")

    prompt: str = "overall"
    """Name of a template of `music.prompts`, or a file that holds one."""
    num_samples: int = Field(default=1, ge=1)
    """Judgements of the same question; of a comparison, in each order."""
    temperature: float | None = Field(default=None, ge=0)
    """None leaves it to the endpoint."""
    max_cost: float | None = Field(default=None, ge=0)
    """USD at which no further question is asked, those of earlier runs over the same journal included."""
    max_total_tokens: int | None = Field(default=None, ge=1)
    """Likewise, prompt and completion tokens together."""
    prices: tuple[str, ...] = ()
    """As `PriceTable.parse` reads them."""
    cache: Path | None = None
    """File of replies that runs share, as `music.llm.cache.ReplyCache` keeps it; None for none."""
    max_in_flight: int = Field(default=64, ge=1)
    """Bound on simultaneous requests."""
    client: ClientSettings = ClientSettings()
    """Of an endpoint over HTTP."""
    options: RequestOptions = RequestOptions()
    """Further options of its requests."""

    @property
    def sampling(self) -> Sampling:
        """How it samples."""
        given = self.options.sampling
        return given if self.temperature is None else replace(given, temperature=self.temperature)

    @field_validator("prompt")
    @classmethod
    def _prompt_can_be_opened(cls, prompt: str) -> str:
        load_template(prompt)
        return prompt

    @field_validator("prices")
    @classmethod
    def _prices_can_be_read(cls, prices: tuple[str, ...]) -> tuple[str, ...]:
        PriceTable.parse(prices)
        return prices

    @model_validator(mode="after")
    def _samples_can_differ(self) -> Self:
        if self.num_samples > 1 and self.sampling.temperature == 0:
            raise ValueError("expected a temperature above 0 with several samples, which 0 makes all the same")
        return self


def read_judge(name: str) -> tuple[JudgeKind, str] | None:
    """Return the kind and the endpoint of `judge:ENDPOINT` or `judge-pairs:ENDPOINT`; None for what is no judge."""
    for prefix, kind in _KINDS.items():
        if name.startswith(prefix):
            return kind, name.removeprefix(prefix)
    return None
