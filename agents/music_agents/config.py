"""`SimulationConfig` and `DefectsConfig`: the settings of `music simulate` and `music defects`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, TypeAdapter, field_validator, model_validator

from music.config import Flag
from music.errors import InvalidInputError
from music.llm.chat import AS_THE_ENDPOINT_DOES, Sampling
from music.prompts import PromptTemplate, load_user_template
from music.registry import SANDBOX
from music_agents.contrasts import Schedule
from music_agents.run_config import ENDPOINT, HIDDEN, OUTPUT, PACE, PLAYERS, OwnPrompt, RunConfig

__all__ = ["FREE_WITHOUT_ROWS", "DefectsConfig", "SimulationConfig"]

FREE_WITHOUT_ROWS = ("strategy", "schedule")
"""Settings that may change until there is a pair, as chosen sides do not depend on them."""

_FIXED = (
    "num_turns", "strategy", "schedule", "shared_script", "contrast_format", "gates", "refusals", "judge_share", "seed",
)  # fmt: skip
"""Fields that every session of a run must share, in the order of `run.json`."""
_SAMPLING = TypeAdapter(dict[str, Sampling])


class SimulationConfig(RunConfig):
    """The settings of a simulation: the flags of `music simulate`.

    Example:
        >>> config = SimulationConfig(num_pairs=2, num_turns=3, strategy="forget(turns=2)")
        >>> config.endpoints()
        {'user': 'sandbox', 'assistant': 'sandbox', 'contrast': 'sandbox'}
    """

    seeds: Annotated[str, HIDDEN] = SANDBOX
    """A file, folder or hub id of preference pairs, prompts or conversations; or `sandbox`."""
    num_turns: Annotated[PositiveInt, Flag(name="--turns")] = 5
    """Simulated turns of each side."""
    user: Annotated[str, ENDPOINT] = ""
    """Plays the user; by default the assistant's endpoint."""
    judge_share: Annotated[float, PLAYERS] = Field(default=1.0, gt=0, le=1)
    """Share of pairs that the judge compares, above 0."""
    schedule: Annotated[str, OUTPUT] = "all"
    """Contrasted turns: all, first, last, turns:1,3 or probability:0.5."""
    user_prompt: Annotated[OwnPrompt | None, Flag(metavar="FILE", panel="What is simulated")] = None
    """A template of your own for the user."""
    shared_script: Annotated[bool, OUTPUT] = False
    """Give both sides the same user messages."""
    personas: Annotated[str, OUTPUT] = ""
    """Personas of the users: FILE, column:NAME, sampler, sampler:FILE.toml or sandbox."""
    refusals: Annotated[Literal["rejected_alone", "one_sided", "any"], OUTPUT] = "rejected_alone"
    """Refusals that drop a pair."""
    graph: Annotated[str, OUTPUT] = ""
    """A pair graph of your own: FILE.py:FUNCTION or MODULE:FUNCTION."""
    requests_per_minute: Annotated[float | None, PACE] = Field(default=None, gt=0)
    """Per endpoint; by default learnt from headers and 429s."""
    tokens_per_minute: Annotated[float | None, PACE] = Field(default=None, gt=0)
    """Per endpoint; by default learnt from headers and 429s."""

    @field_validator("user_prompt", mode="before")
    @classmethod
    def _read_user_prompt(cls, prompt: Any) -> Any:
        return OwnPrompt.read(Path(prompt)) if isinstance(prompt, str | Path) else prompt

    @field_validator("schedule")
    @classmethod
    def _check_schedule(cls, schedule: str) -> str:
        Schedule.parse(schedule)
        return schedule

    @model_validator(mode="after")
    def _check_turns_and_user(self) -> Self:
        Schedule.parse(self.schedule).check(self.num_turns)
        self.user_template(shows_persona=bool(self.personas))
        return self

    def endpoints(self) -> dict[str, str]:
        """Return the endpoint of each role that has one.

        With the sandbox's seeds, the sandbox plays a role without an endpoint. With other seeds, the assistant's
        endpoint does, and it is required: a run over real seeds gets toy replies only if it names the sandbox.

        Raises:
            InvalidInputError: The assistant's endpoint is missing, or an option names a role without an endpoint.
        """
        if not self.assistant and self.seeds != SANDBOX:
            raise InvalidInputError(
                f"--assistant: expected an endpoint, got none for the seeds {self.seeds}: give --assistant "
                "MODEL@BASE_URL (for example gemma-2-9b-it@http://127.0.0.1:8000/v1) or local:PATH; --user and "
                "--contrast are the same unless given. --assistant sandbox plays every role with the built-in toy world"
            )
        default = SANDBOX if self.seeds == SANDBOX else self.assistant
        return self._played({role: getattr(self, role) or default for role in ("user", "assistant", "contrast")})

    def user_template(self, *, shows_persona: bool = False) -> PromptTemplate | None:
        """Return your own instructions for the user; None for this package's.

        Args:
            shows_persona: Whether users have personas, which the template must show.

        Raises:
            InvalidInputError: The template is invalid.
        """
        own = self.user_prompt
        return load_user_template(own.name, own.source, shows_persona=shows_persona) if own else None

    def fixed(self) -> dict[str, object]:
        """Return the settings that every session of a run must share, as JSON values."""
        shared, *own = self.request_options().items()
        usual = Sampling(temperature=shared[1].temperature, max_tokens=shared[1].max_tokens)
        sampling = {
            role: options.sampling
            for role, options in own
            if options.sampling != (AS_THE_ENDPOINT_DOES if role == "judge" else usual)
        }
        prompts = {"contrast_prompt": self.contrast_template(), "user_prompt": self.user_template()}
        values = self.model_dump(mode="json", include=set(_FIXED))
        return {
            **{name: values[name] for name in _FIXED},
            "temperature": usual.temperature,
            "max_reply_tokens": usual.max_tokens,
            "sampling": _SAMPLING.dump_python(sampling, mode="json"),
            "shard_size": self.shard_size,
            **{name: f"digest {prompt.digest}" if prompt else "" for name, prompt in prompts.items()},
        }

    def seed_source(self) -> tuple[str, str | None, str | None, str, bool]:
        """Return the arguments of `music_agents.seeds.load_seeds`."""
        return self.seeds, self.format, self.split, self.consecutive, self.strict

    def located(self) -> Self:
        """Return the config with absolute paths, for processes in another working directory."""
        place, _, name = self.graph.rpartition(":")
        is_file = self.seeds != SANDBOX and Path(self.seeds).exists()
        return self.model_copy(
            update={
                "seeds": str(Path(self.seeds).absolute()) if is_file else self.seeds,
                "personas": str(Path(self.personas).absolute()) if Path(self.personas).is_file() else self.personas,
                "graph": f"{Path(place).absolute()}:{name}" if place.endswith(".py") else self.graph,
                "imports": tuple(str(Path(code).absolute()) if code.endswith(".py") else code for code in self.imports),
                "cache": self.cache and self.cache.absolute(),
            }
        )


class DefectsConfig(RunConfig):
    """The settings of `music defects`."""

    num_pairs: PositiveInt = 200
    """Pairs wanted."""
    contrast: Annotated[str, ENDPOINT]
    """MODEL@BASE_URL (replicas after commas), local:PATH, or sandbox."""
    same_author: Annotated[bool, Flag(name="--same-author")] = False
    """Let the assistant answer the turn on the chosen side, too."""

    def as_simulation(self) -> SimulationConfig:
        """Return the settings of a simulation with one turn of each side."""
        return SimulationConfig(num_turns=1, **{name: getattr(self, name) for name in RunConfig.model_fields})
