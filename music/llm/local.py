"""A transformers model in this process, as a `ChatModel`.

For small models and tests: calls are answered one at a time, by one thread that all local models share, since the
random state that makes sampling reproducible is the process's. Many requests in one call are answered in batches.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice
from typing import Any

from music.chat_template import BUILT_IN, RENDERING_FAULTS, choose_template, template_text
from music.errors import InvalidInputError
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome, RequestRejectedError, Sampling, StoppedWaitingError
from music.llm.endpoints import FORMS
from music.llm.generation import before_stop, generate, up_to_stop
from music.llm.reading import read_text
from music.llm.thinking import find_open_mark
from music.names import require_model
from music.quiet import quiet_transformers

__all__ = ["TEMPLATE_QUERY", "LocalChatModel", "load_local_model"]

TEMPLATE_QUERY = "?chat_template="
"""Stands between a model and the chat template that it is given, where endpoints are written as text."""

_DEFAULT_MAX_TOKENS = 512
_TAIL_TOKENS = 32
"""At the end of a prompt, where a chat template may open the thinking."""


@cache
def _worker(pid: int) -> ThreadPoolExecutor:
    """Return the thread of this process; a forked child, which inherits no threads, starts its own."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"music-local-model-{pid}")


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A request as the model reads it.

    Attributes:
        ids: Its tokens.
        max_tokens: How many may be generated; at least 1.
        sampling: As in the request.
        seed: As in the request; None for none.
        opened: The mark by which the chat template opens the model's thinking, if it does.
    """

    ids: list[int]
    max_tokens: int
    sampling: Sampling
    seed: int | None
    opened: str

    @property
    def kind(self) -> tuple[float, float, tuple[str, ...], int]:
        """What prompts of one batch have in common."""
        temperature, top_p = (-1.0 if x is None else x for x in (self.sampling.temperature, self.sampling.top_p))
        return temperature, top_p, self.sampling.stop, self.max_tokens


class LocalChatModel:
    """A causal language model with a chat template, on the GPU if there is one.

    Weights are read from safetensors only, and code that comes with a model is never run. A request's `seed` makes its
    sampling reproducible on the same machine; without one, it follows the process's random state. `temperature` 0 is
    greedy; without one, the model's own generation settings hold, but if they are greedy it is 1: asking again for an
    unusable reply must give another. `max_tokens` defaults to the model's own bound, else 512. A JSON schema is
    ignored. Of `extra_body`, `chat_template_kwargs` is passed to the chat template.

    Args:
        path_or_hub_id: A folder, or the name of a model on the Hugging Face hub. Loaded at once.
        chat_template: For a model that has none, or in place of its own: a file or a name (see `music.chat_template`).
            A reply then ends also with the special token that closes messages in it.

    Raises:
        InvalidInputError: There is no such model, it cannot be loaded, or there is no chat template.
    """

    def __init__(self, path_or_hub_id: str, chat_template: str | None = None) -> None:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._name = f"local:{path_or_hub_id}" + (f"{TEMPLATE_QUERY}{chat_template}" if chat_template else "")
        require_model(path_or_hub_id)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(path_or_hub_id, trust_remote_code=False)
            with quiet_transformers():
                model: Any = AutoModelForCausalLM.from_pretrained(
                    path_or_hub_id, dtype="auto", use_safetensors=True, trust_remote_code=False
                )
        except (OSError, ValueError, SafetensorError) as error:
            reason = str(error).strip().partition("\n")[0][:300]
            raise InvalidInputError(
                f"{self._name}: expected a causal language model (safetensors): {reason}"
            ) from error
        try:
            self._closing = self._set_template(chat_template)
        except InvalidInputError as error:
            raise InvalidInputError(f"{self._name}: {error}") from error
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self._is_stopped = False

    def _set_template(self, choice: str | None) -> tuple[int, ...]:
        """Settle the chat template; return the special token that closes messages in one that was chosen."""
        if choice is None:
            form = f"local:PATH_OR_HUB_ID{TEMPLATE_QUERY}"
            template_text(self._tokenizer, f"name one as {form}, a file or one of {', '.join(BUILT_IN)}")
            return ()
        self._tokenizer.chat_template = choose_template(self._tokenizer, choice)
        messages = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}]
        added = self._tokenizer.added_tokens_decoder
        return tuple(token for token in self._render(messages)[-1:] if token in added and added[token].special)

    @property
    def name(self) -> str:
        """The endpoint, as `local:PATH_OR_HUB_ID`, and the chat template if one was chosen."""
        return self._name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; see `music.llm.chat.ChatModel`."""
        (reply,) = await self.complete_all([request])
        if isinstance(reply, RequestRejectedError):
            raise reply
        return reply

    async def complete_all(
        self, requests: Sequence[ChatRequest], *, batch_size: int = 32
    ) -> list[ChatReply | RequestRejectedError]:
        """Answer many requests, in batches.

        A batch draws from the seed of its first request, so a sampled reply depends on what else is asked.

        Returns:
            For each request the reply, or why there is none.
        """
        return await asyncio.get_running_loop().run_in_executor(
            _worker(os.getpid()), self._answer_all, requests, batch_size
        )

    async def aclose(self) -> None:
        """Nothing to release: the weights go with the object."""

    def stop_waiting(self) -> None:
        """Let requests that are not being answered yet fail by `StoppedWaitingError`, until `resume_waiting`."""
        self._is_stopped = True

    def resume_waiting(self) -> None:
        """Answer requests again."""
        self._is_stopped = False

    def _answer_all(self, requests: Sequence[ChatRequest], batch_size: int) -> list[ChatReply | RequestRejectedError]:
        if self._is_stopped:
            raise StoppedWaitingError(f"{self._name}: the request was not answered: it was told to stop waiting")
        replies: dict[int, ChatReply | RequestRejectedError] = {}
        prompts: dict[int, _Prompt] = {}
        for place, request in enumerate(requests):
            try:
                prompts[place] = self._prompt(request)
            except RequestRejectedError as error:
                replies[place] = error
        # What is alike in length is padded less. The order of equals stays, so that equal calls are equal.
        ordered = sorted(prompts, key=lambda place: (prompts[place].kind, len(prompts[place].ids)))
        for _, alike in groupby(ordered, key=lambda place: prompts[place].kind):
            for batch in _batches(alike, batch_size):
                replies |= zip(batch, self._answer([prompts[place] for place in batch]), strict=True)
        return [replies[place] for place in range(len(requests))]

    def _answer(self, prompts: Sequence[_Prompt]) -> list[ChatReply]:
        """Answer prompts of one kind as one batch."""
        first = prompts[0]
        options: dict[str, Any] = {"max_new_tokens": first.max_tokens, "pad_token_id": self._pad_token()}
        if self._closing:
            options["eos_token_id"] = list(self._end_tokens())
        ids = [prompt.ids for prompt in prompts]
        generated = generate(self._model, self._tokenizer, ids, first.sampling, first.seed, options)
        return [self._read(prompt, row) for prompt, row in zip(prompts, generated, strict=True)]

    def _read(self, prompt: _Prompt, row: list[int]) -> ChatReply:
        """Return the reply that generated tokens, padded to those of their batch, make."""
        ends = self._end_tokens()
        num_tokens = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
        tokens = row[:num_tokens]
        has_ended = bool(tokens) and tokens[-1] in ends
        # Special tokens are kept: some mark the thinking, and a turn that the model continues with is to be seen.
        raw = self._tokenizer.decode(tokens[:-1] if has_ended else tokens, skip_special_tokens=False)
        kept = before_stop(raw, prompt.sampling.stop)
        if kept != raw:
            tokens = up_to_stop(tokens, prompt.sampling.stop, self._tokenizer)
        was_cut = len(tokens) >= prompt.max_tokens and not has_ended and kept == raw
        reading = read_text(prompt.opened + kept, ReplyOutcome.LENGTH if was_cut else ReplyOutcome.COMPLETE)
        return ChatReply(
            text=reading.text,
            outcome=reading.outcome,
            model=self._name,
            prompt_tokens=len(prompt.ids),
            completion_tokens=len(tokens),
            thinking=reading.thinking,
            cleaned=reading.cleaned,
        )

    def _prompt(self, request: ChatRequest) -> _Prompt:
        """Render a request; the template brings its own BOS, so none is added."""
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        sampling, fields = request.sampling, dict(request.sampling.extra_body)
        switches = fields.pop("chat_template_kwargs", {})
        if fields:
            raise RequestRejectedError(
                f"{self._name}: expected no extra_body but chat_template_kwargs, got {', '.join(fields)}: "
                "a model in this process knows no server's fields"
            )
        try:
            ids = self._render(messages, add_generation_prompt=True, **switches)
        except InvalidInputError as error:
            raise RequestRejectedError(f"{self._name}: {error}") from error
        opened = find_open_mark(self._tokenizer.decode(ids[-_TAIL_TOKENS:], skip_special_tokens=False))
        seed = request.seed if sampling.sends_seed else None
        return _Prompt(ids, self._room(request, len(ids)), sampling, seed, opened)

    def _render(self, messages: Sequence[dict[str, str]], **options: Any) -> list[int]:
        """Return the tokens of messages."""
        from jinja2 import TemplateError

        try:
            encoded = self._tokenizer.apply_chat_template(messages, return_dict=True, **options)
        except (TemplateError, *RENDERING_FAULTS) as error:
            raise InvalidInputError(f"the chat template refuses the messages: {error}") from error
        return list(encoded["input_ids"])

    def _room(self, request: ChatRequest, num_prompt: int) -> int:
        """Return how many tokens may be generated."""
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        wanted = request.sampling.max_tokens or self._model.generation_config.max_new_tokens or _DEFAULT_MAX_TOKENS
        room: int = wanted if limit is None else min(wanted, limit - num_prompt)
        if room < 1:
            raise RequestRejectedError(f"{self._name}: the prompt's {num_prompt} tokens fill the context of {limit}")
        return room

    def _end_tokens(self) -> tuple[int, ...]:
        """Return the tokens that end a reply."""
        end = self._model.generation_config.eos_token_id
        own = () if end is None else (end,) if isinstance(end, int) else tuple(end)
        return (*own, *(token for token in self._closing if token not in own))

    def _pad_token(self) -> int | None:
        pad: int | None = self._tokenizer.pad_token_id
        return pad if pad is not None else next(iter(self._end_tokens()), None)


def load_local_model(spec: str) -> LocalChatModel:
    """Load `PATH_OR_HUB_ID`, or `PATH_OR_HUB_ID?chat_template=FILE_OR_NAME`.

    Raises:
        InvalidInputError: The spec has another form, or the model cannot be loaded.
    """
    model, has_template, chat_template = spec.partition(TEMPLATE_QUERY)
    if not model or (has_template and not chat_template):
        raise InvalidInputError(f"endpoint {f'local:{spec}'.rstrip(':')!r}: expected {FORMS}")
    return LocalChatModel(model, chat_template or None)


def _batches(places: Iterable[int], size: int) -> Iterator[list[int]]:
    rest = iter(places)
    while batch := list(islice(rest, size)):
        yield batch
