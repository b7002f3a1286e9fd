"""`RunConfig`: the settings of every run that makes pairs.

It imports little, as the command line derives flags from it. Configs hold the values that the user wrote and no open
resources, so they can be sent to any process.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_serializer, field_validator, model_validator

from music.config import Config, Flag
from music.errors import InvalidInputError
from music.llm.chat import Sampling
from music.llm.options import RequestOptions, parse_options
from music.llm.spending.budget import PriceTable
from music.prompts import ContrastFormat, ContrastStrategy, PromptTemplate, load_contrast_template
from music.user_code import UserCodeError, import_code, load_object
from music_agents.contrasts import ContrastSpec, check_mix, parse_mix

__all__ = ["ENDPOINT", "HIDDEN", "OUTPUT", "PACE", "PLAYERS", "ROLES", "OwnPrompt", "RunConfig", "load_graph"]

ROLES = ("user", "assistant", "contrast", "weaker", "judge")
PLAYERS, OUTPUT, PACE = Flag(panel="Who plays"), Flag(panel="What is simulated"), Flag(panel="Pace and cost")
ENDPOINT = Flag(metavar="E", panel="Who plays")
HIDDEN = Flag(is_hidden=True)


class OwnPrompt(Config):
    """Your own prompt; it holds the text itself, so that it can be sent to any machine."""

    name: str
    """Name of its file, for messages."""
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


class RunConfig(Config):
    """The settings of every run that makes pairs."""

    num_pairs: PositiveInt = 100
    """Pairs wanted."""
    assistant: Annotated[str, ENDPOINT] = ""
    """Answers: MODEL@BASE_URL (replicas after commas), local:PATH, or sandbox."""
    contrast: Annotated[str, ENDPOINT] = ""
    """Answers on the rejected side; by default the assistant's endpoint."""
    weaker: Annotated[str, ENDPOINT] = ""
    """Answers for the contrast weaker_model."""
    judge: Annotated[str, ENDPOINT] = ""
    """Keeps only pairs whose chosen side it finds better."""
    strategy: Annotated[Mapping[str, float], OUTPUT] = Field(
        default="instruction,drop_constraint", validate_default=True
    )
    """A contrast, or a mixture by weight: instruction=3,forget(turns=2)=1. The paper's is `instruction`; the default
    measured best (docs/contrasts.md)."""
    contrast_format: Annotated[ContrastFormat, OUTPUT] = ContrastFormat.TAGS
    """Reply format of contrasts."""
    contrast_prompt: Annotated[OwnPrompt | None, Flag(metavar="FILE", panel="What is simulated")] = None
    """A template of your own for the one-call contrasts."""
    gates: Annotated[bool, OUTPUT] = True
    """Drop unusable pairs, and request unusable user turns again."""
    imports: Annotated[tuple[str, ...], Flag(name="--import", metavar="FILE.py|MODULE")] = ()
    """Load code of your own, which may register contrasts; may be repeated."""
    seed: Annotated[NonNegativeInt, OUTPUT] = 0
    """Seed of all random draws."""
    temperature: Annotated[float | None, OUTPUT] = Field(default=None, ge=0)
    """Sampling temperature; left to the endpoint by default."""
    max_reply_tokens: Annotated[int | None, OUTPUT] = Field(default=None, ge=1)
    """Bound on the tokens of each reply; left to the endpoint by default."""
    max_in_flight: Annotated[PositiveInt, PACE] = 64
    """Pairs in flight, each with one call at a time."""
    timeout: Annotated[float, PACE] = Field(default=300.0, ge=0.1)
    """Seconds for one try."""
    max_cost: Annotated[float | None, PACE] = Field(default=None, gt=0)
    """USD at which the run stops, failed tries included."""
    max_total_tokens: Annotated[int | None, PACE] = Field(default=None, ge=1)
    """Tokens, of prompts and replies, at which the run stops."""
    prices: Annotated[
        tuple[str, ...], Flag(name="--price", metavar="MODEL=PROMPT:COMPLETION[:CACHED]", panel="Pace and cost")
    ] = ()
    """USD per million tokens; may be repeated."""
    cache: Annotated[Path | None, Flag(metavar="FILE", panel="Pace and cost")] = None
    """File of replies that runs share, so that each is paid for once."""

    shard_size: Annotated[PositiveInt, HIDDEN] = 1000
    """Rows of an output file."""
    options: Annotated[tuple[str, ...], HIDDEN] = Field(default=(), repr=False)
    """Request options, as `KEY=VALUE` or `ROLE.KEY=VALUE`; see `music.llm.options`."""
    max_tries: Annotated[PositiveInt | None, HIDDEN] = None
    """Tries of one request, 429s not counted; None for 5."""
    patience: Annotated[float | None, HIDDEN] = Field(default=None, ge=0)
    """Seconds for which an outage uses up no tries; None for 0."""
    backoff: Annotated[float | None, HIDDEN] = Field(default=None, ge=0)
    """Seconds before the second try of a request, doubled for each further one; None for 0.5."""
    format: Annotated[str | None, HIDDEN] = None
    """Format of the seeds; None to detect it."""
    split: Annotated[str | None, HIDDEN] = None
    """Which split of a folder or hub data set; by default `train`, or the only one."""
    consecutive: Annotated[Literal["refuse", "merge"], HIDDEN] = "refuse"
    """How two messages in a row by one speaker in a seed are treated: refused or merged."""
    strict: Annotated[bool, HIDDEN] = False
    """Whether the first unusable row is an error."""

    @model_validator(mode="before")
    @classmethod
    def _import_code(cls, data: Any) -> Any:
        for code in data.get("imports", ()):
            import_code(code)  # first, as it may register contrasts, and so may the file of a graph
        if graph := data.get("graph"):
            load_graph(graph)
        return data

    @field_validator("strategy", mode="before")
    @classmethod
    def _read_strategy(cls, strategy: Any) -> Any:
        return parse_mix(strategy) if isinstance(strategy, str) else strategy

    @field_validator("strategy")
    @classmethod
    def _check_strategy(cls, strategy: Mapping[str, float]) -> Mapping[str, float]:
        check_mix(strategy)
        return strategy

    @field_validator("contrast_prompt", mode="before")
    @classmethod
    def _read_prompt(cls, prompt: Any) -> Any:
        return OwnPrompt.read(Path(prompt)) if isinstance(prompt, str | Path) else prompt

    @field_validator("prices")
    @classmethod
    def _check_prices(cls, prices: tuple[str, ...]) -> tuple[str, ...]:
        PriceTable.parse(prices)
        return prices

    @field_serializer("options")
    def _without_secrets(self, options: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(option for option in options if "headers" not in option and "query" not in option)

    @model_validator(mode="after")
    def _check_prompt_and_options(self) -> Self:
        self.contrast_template()
        self.request_options()
        return self

    def endpoints(self) -> dict[str, str]:
        """Return the endpoint of each role that has one.

        Raises:
            InvalidInputError: An option names a role without an endpoint.
        """
        by_role = {"assistant": self.assistant or self.contrast, "contrast": self.contrast or self.assistant}
        return self._played(by_role)

    def _played(self, by_role: Mapping[str, str]) -> dict[str, str]:
        """Add the optional roles."""
        named = {**by_role, "weaker": self.weaker, "judge": self.judge}
        for option in self.options:
            key = option.partition("=")[0]
            role = key.partition(".")[0]
            if role in ROLES and not named.get(role):
                raise InvalidInputError(f"--option {key}: expected --{role}, too: nobody plays it")
        return {role: named[role] for role in ROLES if named.get(role)}

    def request_options(self) -> dict[str, RequestOptions]:
        """Return the request options of every role, and those for all roles under the empty name.

        Raises:
            InvalidInputError: An option is invalid, or is also given by its own flag.
        """
        flags = {
            "--temperature": ("temperature", self.temperature),
            "--max-reply-tokens": ("max_tokens", self.max_reply_tokens),
        }
        return parse_options(self.options, ROLES, apart=("judge",), flags=flags)

    def sampling_of(self, role: str) -> Sampling:
        """Return the sampling settings of a role; a judge uses its endpoint's defaults unless it has options."""
        return self.request_options()[role].sampling

    def contrast_template(self) -> PromptTemplate | None:
        """Return your own prompt for contrasts with one call; None for this package's.

        Raises:
            InvalidInputError: The prompt is invalid, or the mixture has no contrast with one call.
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


def load_graph(spec: str) -> Callable[..., Any]:
    """Load a graph factory, once per process: its file may register contrasts.

    Args:
        spec: `FILE.py:FUNCTION` or `MODULE:FUNCTION`; the function takes a `RoleSet` and returns a compiled graph.

    Raises:
        InvalidInputError: The file, module or function does not exist.
        UserCodeError: The code cannot be imported.
    """
    try:
        factory = load_object(spec)
    except (InvalidInputError, UserCodeError) as error:
        raise type(error)(f"graph {spec!r}: {error}") from error
    if not callable(factory):
        raise InvalidInputError(f"graph {spec!r}: expected a function that takes a RoleSet, got {factory!r}")
    return factory
