"""`LocalChatModel`: a transformers model in this process, for small models and tests.

One thread, which all local models share, answers one batch at a time. Requests that are waiting are answered together.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice
from typing import Any
from weakref import WeakKeyDictionary

from music.chat_template import BUILT_IN, RENDERING_FAULTS, choose_template, template_text
from music.conversation import Message
from music.errors import InvalidInputError
from music.llm.batching import Batcher
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome, RequestRejectedError, Sampling, StoppedWaitingError
from music.llm.endpoints import FORMS
from music.llm.generation import before_stop, generate, up_to_stop
from music.llm.reading import read_text
from music.llm.thinking import find_open_mark
from music.names import find_model
from music.quiet import quiet_transformers

__all__ = ["TEMPLATE_QUERY", "LocalChatModel", "load_local_model"]

TEMPLATE_QUERY = "?chat_template="
"""Separates the model and the chat template in an endpoint's specification."""

_BATCH_SIZE = 32
_DEFAULT_MAX_TOKENS = 512
_TAIL_TOKENS = 32
"""Tokens at the end of a prompt in which a chat template may open the thinking."""


@cache
def _worker(pid: int) -> ThreadPoolExecutor:
    """Return the worker thread of a process; a forked child inherits no threads and starts its own."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"music-local-model-{pid}")


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A request as the model reads it.

    Attributes:
        ids: Its tokens.
        max_tokens: Most tokens to generate, at least 1.
        sampling: As in the request.
        seed: As in the request; None for none.
        opened: The mark with which the chat template opens the model's thinking; empty for none.
    """

    ids: list[int]
    max_tokens: int
    sampling: Sampling
    seed: int | None
    opened: str

    @property
    def kind(self) -> tuple[float, float, tuple[str, ...], int]:
        """The settings that all prompts of a batch share."""
        temperature, top_p = (-1.0 if x is None else x for x in (self.sampling.temperature, self.sampling.top_p))
        return temperature, top_p, self.sampling.stop, self.max_tokens


class LocalChatModel:
    """A causal language model with a chat template, on the GPU if there is one.

    Weights are read from safetensors only, and code that comes with a model is never run.

    - `seed` makes sampling reproducible on one machine, whatever else is in the batch (up to rounding). Without one,
      the process's random state is used.
    - `temperature` 0 is greedy. Without a temperature, the model's own generation settings are used; if they are
      greedy, the temperature is 1, so that repeating a request can give another reply.
    - `max_tokens` defaults to the model's own limit, else 512.
    - A JSON schema is ignored. Of `extra_body`, only `chat_template_kwargs` is used: it goes to the chat template.

    Args:
        path_or_hub_id: A folder, the name of a model on the Hugging Face hub, or `sandbox` for the sandbox's own
            language model. Loaded at once.
        chat_template: A file or a name (see `music.chat_template`) that replaces the model's own template. The special
            token that closes messages in it then ends a reply, too.

    Raises:
        InvalidInputError: There is no such model, it cannot be loaded, or there is no chat template.
    """

    def __init__(self, path_or_hub_id: str, chat_template: str | None = None) -> None:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._name = f"local:{path_or_hub_id}" + (f"{TEMPLATE_QUERY}{chat_template}" if chat_template else "")
        path = find_model(path_or_hub_id, "language_model")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            with quiet_transformers():
                model: Any = AutoModelForCausalLM.from_pretrained(
                    path, dtype="auto", use_safetensors=True, trust_remote_code=False
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
        self._batchers: WeakKeyDictionary[asyncio.AbstractEventLoop, Batcher] = WeakKeyDictionary()

    def _set_template(self, choice: str | None) -> tuple[int, ...]:
        """Set the chat template; if one was chosen, return the special token that closes messages in it."""
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
        """The endpoint, as `local:PATH_OR_HUB_ID` with the chat template if one was chosen."""
        return self._name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; see `music.llm.chat.ChatModel`."""
        loop = asyncio.get_running_loop()
        if loop not in self._batchers:
            self._batchers[loop] = Batcher(self.complete_all, _BATCH_SIZE)
        return await self._batchers[loop].ask(request)

    async def complete_all(
        self, requests: Sequence[ChatRequest], *, batch_size: int = _BATCH_SIZE
    ) -> list[ChatReply | RequestRejectedError]:
        """Answer many requests, in batches.

        Returns:
            For each request the reply, or the error that rejects it.
        """
        return await asyncio.get_running_loop().run_in_executor(
            _worker(os.getpid()), self._answer_all, requests, batch_size
        )

    def fits(self, dialogues: Sequence[Sequence[Message]]) -> list[bool]:
        """Return whether each list of messages fits into the model's context."""
        limit = self._context
        if limit is None:
            return [True] * len(dialogues)
        return [
            len(self._render([{"role": m.role, "content": m.content} for m in each])) <= limit for each in dialogues
        ]

    @property
    def _context(self) -> int | None:
        """Most tokens that the model reads and writes; None if it does not say."""
        limit: int | None = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        return limit

    async def aclose(self) -> None:
        """Do nothing: the weights are freed with the object."""

    def stop_waiting(self) -> None:
        """Fail requests that are still waiting with `StoppedWaitingError`, until `resume_waiting`."""
        self._is_stopped = True

    def resume_waiting(self) -> None:
        """Answer requests again."""
        self._is_stopped = False

    def _answer_all(self, requests: Sequence[ChatRequest], batch_size: int) -> list[ChatReply | RequestRejectedError]:
        if self._is_stopped:
            raise StoppedWaitingError(f"{self._name}: the request was not answered: waiting was stopped")
        replies: dict[int, ChatReply | RequestRejectedError] = {}
        prompts: dict[int, _Prompt] = {}
        for place, request in enumerate(requests):
            try:
                prompts[place] = self._prompt(request)
            except RequestRejectedError as error:
                replies[place] = error
        # Sorting by length reduces padding. The sort is stable, so equal calls give equal batches.
        ordered = sorted(prompts, key=lambda place: (prompts[place].kind, len(prompts[place].ids)))
        for _, group in groupby(ordered, key=lambda place: prompts[place].kind):
            while batch := list(islice(group, batch_size)):
                replies |= zip(batch, self._answer([prompts[place] for place in batch]), strict=True)
        return [replies[place] for place in range(len(requests))]

    def _answer(self, prompts: Sequence[_Prompt]) -> list[ChatReply]:
        """Answer prompts of one kind as one batch."""
        first = prompts[0]
        pad, ends = self._tokenizer.pad_token_id, self._end_tokens()
        pad = next(iter(ends), None) if pad is None else pad
        options: dict[str, Any] = {"max_new_tokens": first.max_tokens, "pad_token_id": pad}
        if self._closing:
            options["eos_token_id"] = list(ends)
        ids = [prompt.ids for prompt in prompts]
        seeds = [prompt.seed for prompt in prompts]
        generated = generate(self._model, self._tokenizer, ids, first.sampling, seeds, options)
        return [self._read(prompt, row) for prompt, row in zip(prompts, generated, strict=True)]

    def _read(self, prompt: _Prompt, row: list[int]) -> ChatReply:
        """Return the reply in generated tokens, which are padded to the length of their batch."""
        ends = self._end_tokens()
        num_tokens = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
        tokens = row[:num_tokens]
        has_ended = bool(tokens) and tokens[-1] in ends
        # Keep special tokens: some mark the thinking, and some reveal that the model continued with another turn.
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
        """Render a request; the template writes BOS itself, so none is added."""
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        sampling, fields = request.sampling, dict(request.sampling.extra_body)
        switches = fields.pop("chat_template_kwargs", {})
        if fields:
            raise RequestRejectedError(
                f"{self._name}: expected no extra_body but chat_template_kwargs, got {', '.join(fields)}: "
                "a model in this process does not know the fields of servers"
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
        """Return the most tokens to generate."""
        limit = self._context
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


def load_local_model(spec: str) -> LocalChatModel:
    """Load `PATH_OR_HUB_ID`, or `PATH_OR_HUB_ID?chat_template=FILE_OR_NAME`.

    Raises:
        InvalidInputError: The spec has another form, or the model cannot be loaded.
    """
    model, has_template, chat_template = spec.partition(TEMPLATE_QUERY)
    if not model or (has_template and not chat_template):
        raise InvalidInputError(f"endpoint {f'local:{spec}'.rstrip(':')!r}: expected {FORMS}")
    return LocalChatModel(model, chat_template or None)
