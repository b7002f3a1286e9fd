"""Request options as users write them: `KEY=VALUE`, or `ROLE.KEY=VALUE` for one role.

Keys are the fields of `RequestOptions`. Keys that hold several values take a name: `extra_body.top_k=20`,
`headers.X-Title=env:TITLE`, `query.api-version=2024-10-21`. Further dots in names of `extra_body` nest, and its values
are JSON, or else text. The value of a role or a key may also be a JSON object.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
from pydantic import Field, PositiveInt, ValidationError, field_validator

from music.errors import InvalidInputError
from music.llm.chat import Sampling
from music.llm.connection import Connection
from music.names import did_you_mean

__all__ = ["RequestOptions", "parse_options"]

_OF_THE_REQUEST = {"model", "messages", "stream", "n"}
_GROUPS = ("extra_body", "headers", "query")
_OF_TEXT = ("temperature", "top_p", "stop", "max_tokens")
"""Keys that shape a text; roles of `apart` do not inherit them."""


class RequestOptions(Connection):
    """Options of the requests of one role."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature; 0 is greedy. None is the endpoint's default, here and below."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Share of the probability mass that tokens are drawn from."""
    stop: tuple[str, ...] = ()
    """Texts that end a reply."""
    seed: bool = True
    """Whether a seed is sent."""
    max_tokens: PositiveInt | None = None
    """Most tokens of one reply."""
    extra_body: Mapping[str, Any] = {}
    """Further fields of the body."""

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_several(cls, stop: Any) -> Any:
        return (stop,) if isinstance(stop, str) else stop

    @field_validator("extra_body")
    @classmethod
    def _leaves_the_request(cls, extra_body: Mapping[str, Any]) -> Mapping[str, Any]:
        if taken := sorted(_OF_THE_REQUEST & extra_body.keys()):
            raise ValueError(f"expected fields that requests do not set already, got {', '.join(taken)}")
        return extra_body

    @property
    def sampling(self) -> Sampling:
        """The options that go into the body."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=self.stop,
            sends_seed=self.seed,
            extra_body=dict(self.extra_body),
        )

    def describe_sampling(self) -> str:
        """Return the body's options that are not the default, as JSON; empty if there are none."""
        given = self.model_dump(mode="json", exclude=set(Connection.model_fields), exclude_defaults=True)
        return orjson.dumps(given).decode() if given else ""

    @property
    def connection(self) -> Connection:
        """The options that do not go into the body."""
        return Connection(max_tokens_field=self.max_tokens_field, headers=self.headers, query=self.query)


def parse_options(
    options: Sequence[str],
    roles: Collection[str] = (),
    *,
    apart: Collection[str] = (),
    flags: Mapping[str, tuple[str, Any]] | None = None,
    name: str = "--option",
) -> dict[str, RequestOptions]:
    """Read options; later ones override earlier ones.

    Args:
        options: Options as users write them.
        roles: Roles that may have options of their own, which override those without a role.
        apart: Roles that take temperature, top_p, stop and max_tokens from their own options alone.
        flags: Flags for single options: by flag, the key and its value, None if it was not given.
        name: The flag that the options come from, for errors.

    Returns:
        The options of each role, and under the empty name those without a role.

    Raises:
        InvalidInputError: An option cannot be read, or is also given by a flag.
    """
    trees: dict[str, dict[str, Any]] = {role: {} for role in ("", *roles)}
    try:
        for option in options:
            _take(trees, option)
        shared = trees[""]
        for flag, (key, given) in (flags or {}).items():
            if given is not None and key in shared:
                raise InvalidInputError(f"{key}=...: expected this or {flag}, got both")
            shared |= {} if given is None else {key: given}
        text_free = {key: value for key, value in shared.items() if key not in _OF_TEXT}
        below = {role: text_free if role in apart else shared for role in roles}
        return {role: _read(_merged(below.get(role, {}), tree), role, roles) for role, tree in trees.items()}
    except InvalidInputError as error:
        raise InvalidInputError(f"{name} {error}") from None


def _take(trees: dict[str, dict[str, Any]], option: str) -> None:
    """Add an option to the tree of its role, or to the tree for all roles."""
    path, has_value, value = option.partition("=")
    if not has_value:
        raise InvalidInputError(f"{option}: expected KEY=VALUE{' or ROLE.KEY=VALUE' if len(trees) > 1 else ''}")
    role, _, rest = path.partition(".")
    has_role = bool(role) and role in trees
    _put(trees[role if has_role else ""], rest if has_role else path, value, option=path)


def _put(tree: dict[str, Any], path: str, value: str, option: str) -> None:
    """Set the value of a dotted path in a tree."""
    key, _, name = path.partition(".")
    if not key or (not name and (key in _GROUPS or value[:1] in "{[")):
        whole = _from_json(value)
        if not isinstance(whole, list if key == "stop" else dict):
            raise InvalidInputError(f"{option}: expected {option}.NAME=VALUE, or a JSON object")
        tree.update(_merged(tree, {key: whole} if key else dict(whole)))
    elif not name:
        tree[key] = value
    else:
        *parents, last = [key, *(name.split(".") if key == "extra_body" else [name])]
        for parent in parents:
            inner = tree.get(parent)
            tree[parent] = inner if isinstance(inner, dict) else {}
            tree = tree[parent]
        tree[last] = _from_json(value) if key == "extra_body" else value


def _from_json(value: str) -> Any:
    """Parse a value as JSON; return it as text if it is not JSON."""
    try:
        return orjson.loads(value)
    except ValueError:
        return value


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two trees; values of the second override those of the first."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _read(tree: Mapping[str, Any], role: str, roles: Collection[str]) -> RequestOptions:
    """Validate a tree of options."""
    try:
        return RequestOptions.model_validate(tree)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        said = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            said = f"expected one of the keys {', '.join(sorted(RequestOptions.model_fields))}"
            said += f", after one of the roles {', '.join(roles)} or none" if roles else ""
            said += did_you_mean(place, [*RequestOptions.model_fields, *roles])
        raise InvalidInputError(f"{f'{role}.{place}' if role else place}: {said}") from None
