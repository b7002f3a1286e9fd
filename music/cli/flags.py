"""Flags and config models: `with_flags` derives a command's flags from models, `in_one_line` formats errors by flag.

A flag is written once, as a field of a config.

A parameter of a command that is annotated with a pydantic model becomes one flag for each of its fields::

    @with_flags
    def train(pairs: list[str], config: RewardTrainingConfig, as_json: AsJson = False) -> None: ...

The field `num_epochs` is `--num-epochs`, with the field's type and default, and its docstring as help;
`music.config.Flag` adjusts it. Models within models are flattened. The command gets the filled model. Values that were
not given are left to the model's defaults and validators.

An error about a field names the flag of the same name. If a command fills several models, `Annotated[Model, "judge"]`
puts a prefix before the flags of one, and the model's title is that prefix (`ConfigDict(title="judge")`).
"""

import enum
import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from music.config import Flag
from music.errors import MusicError

__all__ = ["in_one_line", "with_flags"]

_FIELD = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
"""A field's name within a sentence: one with an underscore, which prose does not have."""
_LONGEST = 80
"""Longest part of a refused value that is shown, in characters."""
_PLAIN = (str, int, float, bool, Path, enum.Enum)


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command in which config models become flags.

    `Annotated[JudgeSettings, "judge"]` puts a prefix before the names of its flags: `--judge-prompt`.

    Raises:
        TypeError: Two flags would have the same name.
    """
    signature = inspect.signature(command, eval_str=True)
    groups = {name: group for name, each in signature.parameters.items() if (group := _group(each.annotation))}
    parameters = [inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for name, each in signature.parameters.items():
        own = each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += _parameters(*groups[name]) if name in groups else [own]

    @wraps(command)
    def run(ctx: typer.Context, **values: Any) -> None:
        given = {name: value for name, value in values.items() if _is_given(ctx, name)}
        own = {name: value for name, value in values.items() if name in signature.parameters}
        command(**own, **{name: model(**_fields(model, prefix, given)) for name, (model, prefix) in groups.items()})

    names = [each.name for each in parameters]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise TypeError(f"{command.__name__}: two flags share a name: {', '.join(sorted(repeated))}")
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {}
    return run


def _group(annotation: Any) -> tuple[type[BaseModel], str] | None:
    """Return the model and the prefix of a parameter that becomes several flags."""
    model, *extra = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    return model, next((f"{each}_" for each in extra if isinstance(each, str)), "")


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _flag(field: FieldInfo) -> Flag:
    return next((each for each in field.metadata if isinstance(each, Flag)), Flag())


def _shown_fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, Flag]]:
    for name, field in model.model_fields.items():
        if not (flag := _flag(field)).is_hidden:
            yield name, field, flag


def _parameters(model: type[BaseModel], prefix: str, panel: str | None = None) -> Iterator[inspect.Parameter]:
    """Yield a parameter with typer's annotation for each field, including the fields of inner models."""
    for name, field, flag in _shown_fields(model):
        if group := _group(field.annotation):
            yield from _parameters(group[0], prefix, flag.panel or panel)
            continue
        default: Any = inspect.Parameter.empty
        if not field.is_required():
            default = field.get_default(call_default_factory=True)
            default = list(default) if isinstance(default, tuple) else default
        annotation: Any = Annotated[_typed(field.annotation), _typer_info(field, flag, prefix, panel)]
        yield inspect.Parameter(prefix + name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _typer_info(field: FieldInfo, flag: Flag, prefix: str, panel: str | None) -> Any:
    text = " ".join((field.description or "").split())
    if isinstance(flag.show_default, str):
        text += f"  [default: {flag.show_default}]"  # typer would put it in parentheses
    shown: dict[str, Any] = {"help": text, "metavar": flag.metavar, "rich_help_panel": flag.panel or panel}
    # A switch is off by default.
    shown["show_default"] = flag.show_default is True and field.default is not False
    if flag.is_argument:
        return typer.Argument(**shown)
    if flag.extends_file:
        shown["callback"] = _after_those_of_the_file
    names = () if flag.name is None else (f"--{prefix.replace('_', '-')}{flag.name.removeprefix('--')}",)
    return typer.Option(*names, **shown)


def _after_those_of_the_file(ctx: typer.Context, param: typer.CallbackParam, given: list[str] | None) -> list[str]:
    from_file = (ctx.default_map or {}).get(param.name or "") or []
    return [*from_file, *(given or [])] if list(given or []) != list(from_file) else list(from_file)


def _typed(annotation: Any) -> Any:
    """Return typer's type: a list for a tuple, and text for types that the model reads from text."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        kinds = [_typed(each) for each in args if each is not type(None)]
        return (kinds[0] if len(set(kinds)) == 1 else str) | (None if type(None) in args else kinds[0])
    if origin in (tuple, list):
        return types.GenericAlias(list, (_typed(args[0]),))
    is_plain = origin is Literal or (isinstance(annotation, type) and issubclass(annotation, _PLAIN))
    return annotation if is_plain else str


def _fields(model: type[BaseModel], prefix: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given values of a model's fields, with those of inner models nested."""
    values: dict[str, Any] = {}
    for name, field, _ in _shown_fields(model):
        if group := _group(field.annotation):
            if inner := _fields(group[0], prefix, given):
                values[name] = inner
        elif prefix + name in given:
            values[name] = given[prefix + name]
    return values


def in_one_line(error: Exception, params: Sequence[Any]) -> str | None:
    """Return an error's message in one line, or None if the user cannot fix it.

    Args:
        error: The error that a command raised.
        params: click's parameters of the command.
    """
    if isinstance(error, ValidationError):
        flags = {param.name: _spelling(param) for param in params}
        return "; ".join(_fault(fault, error.title, flags) for fault in error.errors())
    if isinstance(error, OSError) and not isinstance(error, MusicError):
        # Only errors about a named file: a broken pipe or socket is handled elsewhere, or is a bug.
        return f"{error.filename}: {error.strerror}" if error.filename is not None else None
    return str(error)


def _spelling(param: Any) -> str:
    """Return how a parameter is typed: its flag, or an argument's name."""
    flag: str = next((opt for opt in param.opts if opt.startswith("--")), param.name)
    return flag


def _fault(fault: ErrorDetails, title: str, flags: Mapping[str, str]) -> str:
    """Return the message of one validation error, about one value or several together."""
    fields = [str(part) for part in fault["loc"] if isinstance(part, str)]
    known = [flag for field in reversed(fields) if (flag := flags.get(f"{title}_{field}", flags.get(field, "")))]
    message = fault["msg"].removeprefix("Value error, ")
    wanted = message.removeprefix("Input should be ")
    if wanted != message:
        wanted = wanted.partition(", unable to parse")[0]
        wanted = f"a value {wanted}" if wanted.startswith(("greater", "less")) else wanted
        message = f"expected {wanted}, got {_shown(fault['input'])}"
    if known:
        return f"{known[0]}: {message}"
    message = _FIELD.sub(lambda found: flags.get(f"{title}_{found[0]}", flags.get(found[0], found[0])), message)
    # Our own validators write whole sentences; pydantic's messages need the name of the field.
    return message if fault["type"] == "value_error" else f"invalid {title}: {'.'.join(fields)}: {message}"


def _shown(value: Any) -> str:
    """Return a refused value as the user wrote it, truncated if it is long."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
