"""`JudgeSettings`: a judge's prompt, samples, sampling and limits; `read_judge`: its name on the command line."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from music.config import Config, Flag
from music.errors import InvalidInputError
from music.llm.chat import Sampling
from music.llm.options import RequestOptions, parse_options
from music.llm.settings import ClientSettings
from music.llm.spending.budget import PriceTable
from music.prompts import load_template

__all__ = ["Ensemble", "JudgeKind", "JudgeSettings", "judge_flag", "read_ensemble", "read_judge", "require_judge"]

JudgeKind = Literal["rating", "comparing"]
EnsembleKind = Literal["mean", "majority"]
ENSEMBLES: dict[str, EnsembleKind] = {"mean": "mean", "majority": "majority"}
PANEL = "A judge"
_KINDS: dict[str, JudgeKind] = {"judge:": "rating", "judge-pairs:": "comparing"}


class JudgeSettings(Config):
    """A judge's prompt, samples, sampling and limits.

    Example:
        >>> JudgeSettings(prompt="constraints", num_samples=3).num_samples
        3
    """

    model_config = ConfigDict(title="judge")

    prompt: Annotated[str, Flag(metavar="P", panel=PANEL)] = "overall"
    """`overall`, the name of another prompt of `music.prompts`, or a jinja2 file."""
    num_samples: Annotated[int, Flag(name="--samples", panel=PANEL)] = Field(default=1, ge=1)
    """Judgements of each question; for a comparison, in each order."""
    temperature: Annotated[float | None, Flag(panel=PANEL)] = Field(default=None, ge=0)
    """Sampling temperature; by default the endpoint's."""
    max_cost: Annotated[float | None, Flag(panel=PANEL)] = Field(default=None, ge=0)
    """Stop asking at this cost in USD, earlier runs with the same journal included."""
    max_total_tokens: Annotated[int | None, Flag(panel=PANEL)] = Field(default=None, ge=1)
    """Stop asking at this number of prompt and completion tokens, earlier runs included."""
    prices: Annotated[
        tuple[str, ...], Flag(name="--price", metavar="MODEL=PROMPT:COMPLETION[:CACHED]", panel=PANEL)
    ] = ()
    """USD per million tokens; may be repeated."""
    cache: Annotated[Path | None, Flag(metavar="FILE", panel=PANEL)] = None
    """File of replies that runs share: what one run paid for is free to the next."""
    options: Annotated[tuple[str, ...], Flag(name="--option", metavar="KEY=VALUE", panel=PANEL)] = ()
    """Option of the judge's requests, as --option of music simulate; may be repeated."""
    max_in_flight: Annotated[int, Flag(is_hidden=True)] = Field(default=64, ge=1)
    """Limit of concurrent requests."""
    client: Annotated[ClientSettings, Flag(is_hidden=True)] = ClientSettings()
    """Settings of the HTTP client."""

    @property
    def request_options(self) -> RequestOptions:
        """The options of the judge's requests, including the temperature.

        Raises:
            InvalidInputError: An option cannot be read, or the temperature is given twice.
        """
        short = {judge_flag("temperature"): ("temperature", self.temperature)}
        return parse_options(self.options, flags=short, name=judge_flag("options"))[""]

    @property
    def sampling(self) -> Sampling:
        """The sampling parameters of the judge's requests."""
        return self.request_options.sampling

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
            raise ValueError("expected a temperature above 0 with several samples; at 0 they are all the same")
        return self


def judge_flag(field: str) -> str:
    """Return the flag of a command that sets a field of `JudgeSettings`."""
    named = (each.name for each in JudgeSettings.model_fields[field].metadata if isinstance(each, Flag))
    return f"--judge-{(next(named) or field).removeprefix('--').replace('_', '-')}"


def read_judge(name: str) -> tuple[JudgeKind, str] | None:
    """Return the kind and the endpoint of `judge:ENDPOINT` or `judge-pairs:ENDPOINT`; None for other names."""
    for prefix, kind in _KINDS.items():
        if name.startswith(prefix):
            return kind, name.removeprefix(prefix)
    return None


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Several judges, and how their scores are combined."""

    kind: EnsembleKind
    members: tuple[str, ...]


def read_ensemble(name: str) -> Ensemble | None:
    """Return the judges of `mean:JUDGE+JUDGE` or `majority:JUDGE+JUDGE`; None for other names.

    Raises:
        InvalidInputError: It does not name at least two different judges.

    Example:
        >>> read_ensemble("majority:judge:a@http://h+judge:b@http://h").members
        ('judge:a@http://h', 'judge:b@http://h')
    """
    kind, _, rest = name.partition(":")
    if kind not in ENSEMBLES:
        return None
    members = tuple(member.strip() for member in rest.split("+"))
    if len(members) < 2 or len(set(members)) < len(members) or not all(map(read_judge, members)):
        raise InvalidInputError(
            f"expected {kind}:JUDGE+JUDGE with at least two different judges (judge:MODEL@URL or "
            f"judge-pairs:MODEL@URL), got {name!r}"
        )
    return Ensemble(ENSEMBLES[kind], members)


def require_judge(settings: JudgeSettings, names: Iterable[str | None], others: Iterable[str] = ()) -> None:
    """Refuse a judge's flags without a judge.

    Args:
        settings: The settings that the flags filled.
        names: Names of models, of which one may be a judge.
        others: Further flags that were given and need a judge.

    Raises:
        InvalidInputError: A flag was given, and there is no judge.
    """
    given = [judge_flag(field) for field in JudgeSettings.model_fields if field in settings.model_fields_set]
    flags = ", ".join([*given, *others])
    if flags and not any(name and (read_judge(name) or read_ensemble(name)) for name in names):
        raise InvalidInputError(f"{flags}: expected a judge (judge:MODEL@URL) to go with it, got none")
