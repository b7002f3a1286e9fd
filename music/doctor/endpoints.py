"""Endpoints: whether a server answers, which models it lists, and whether it answers as the model that was named."""

from music.doctor.check import Check, State
from music.errors import MusicError
from music.llm.chat import EndpointError, Sampling
from music.llm.connection import find_api_key, key_variable, read_base_url
from music.llm.endpoints import load_model, read_remote, shown
from music.llm.openai import OpenAIChatModel
from music.llm.probing import MAX_SHOWN_MODELS, ProbedModel, explain_failure, probe

__all__ = ["check_endpoint"]


async def check_endpoint(spec: str) -> list[Check]:
    """Return what there is to say about an endpoint; each of several replicas is asked.

    Args:
        spec: As for `music.llm.load_model`. A server is sent one short question.
    """
    return [await _check(part.strip()) for part in spec.split(",")]


async def _check(spec: str) -> Check:
    try:
        model = load_model(spec)
    except MusicError as error:
        return Check(area="endpoints", name=shown(spec), state=State.PROBLEM, text=str(error), fix="see the message")
    try:
        if not isinstance(model, OpenAIChatModel):
            return Check(area="endpoints", name=spec, text="in this process")
        return await _ask(spec, model)
    finally:
        await model.aclose()


async def _ask(spec: str, model: OpenAIChatModel) -> Check:
    """Ask a server for its models and for a short reply."""
    key, fix = _describe_key(spec)
    try:
        await ProbedModel(model).complete(probe(Sampling()))
    except EndpointError as error:
        text = f"{(await explain_failure(model, error)).removeprefix(f'{model.name}: ')} ({key})"
        return Check(area="endpoints", name=shown(spec), state=State.PROBLEM, text=text, fix=fix)
    listed = await model.list_models()
    more = ", ..." if len(listed) > MAX_SHOWN_MODELS else ""
    models = f"models {', '.join(listed[:MAX_SHOWN_MODELS])}{more}" if listed else "it lists no models"
    return Check(area="endpoints", name=shown(spec), text=f"answers; {models}; {key}")


def _describe_key(spec: str) -> tuple[str, str]:
    """Return whether there is a key for this server, and how to set one."""
    remote = read_remote(spec)
    url = read_base_url(remote[1] if remote else "", "chat/completions")
    is_set = bool(find_api_key(url))
    fix = f"start the server, correct the address, or export {key_variable(url)}=... (or MUSIC_API_KEY)"
    return ("a key is set" if is_set else "no key is set"), fix
