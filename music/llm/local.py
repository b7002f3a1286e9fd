"""A transformers model in this process, as a `ChatModel`.

For small models and tests: calls are answered one at a time, by one thread that all local models share, since the
random state that makes sampling reproducible is the process's.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from music.errors import InvalidInputError
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome, RequestRejectedError
from music.llm.sanitise import neutralise

if TYPE_CHECKING:
    import torch

__all__ = ["LocalChatModel"]

_DEFAULT_MAX_TOKENS = 512
_WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="music-local-model")


class LocalChatModel:
    """A causal language model with a chat template, on the GPU where there is one.

    Weights are read from safetensors only, and code that comes with a model is never run. A request's `seed` makes
    its sampling reproducible on the same machine; without one, it follows the process's random state. `temperature` 0
    is greedy; without one, the model's own generation settings hold. `max_tokens` is 512 where nothing else says.

    Args:
        path_or_hub_id: A folder, or the name of a model on the Hugging Face hub. Loaded at once.

    Raises:
        InvalidInputError: There is no such model, it cannot be loaded, or its tokenizer has no chat template.
    """

    def __init__(self, path_or_hub_id: str) -> None:
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._name = f"local:{path_or_hub_id}"
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(path_or_hub_id, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(
                path_or_hub_id, dtype="auto", use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise InvalidInputError(
                f"{self._name}: expected a causal language model (safetensors): {_first_line(error)}"
            ) from error
        if not self._tokenizer.chat_template:
            raise InvalidInputError(f"{self._name}: expected a chat model, but its tokenizer has no chat template")
        self._model = model.to(_device()).eval()

    @property
    def name(self) -> str:
        """The endpoint, as `local:PATH_OR_HUB_ID`."""
        return self._name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; see `music.llm.chat.ChatModel`."""
        return await asyncio.get_running_loop().run_in_executor(_WORKER, self._answer, request)

    async def aclose(self) -> None:
        """Nothing to release: the weights go with the object."""

    def _answer(self, request: ChatRequest) -> ChatReply:
        start = time.perf_counter()
        prompt = self._encode(request)
        num_prompt = prompt["input_ids"].shape[1]
        max_tokens = self._room(request, num_prompt)
        tokens = self._generate(prompt, request, max_tokens)[0, num_prompt:].tolist()
        text = neutralise(self._tokenizer.decode(tokens, skip_special_tokens=True))
        was_cut = len(tokens) >= max_tokens and tokens[-1] not in self._end_tokens()
        return ChatReply(
            text=text if text.strip() else "",
            outcome=_outcome(text, was_cut),
            model=self._name,
            prompt_tokens=num_prompt,
            completion_tokens=len(tokens),
            latency=time.perf_counter() - start,
        )

    def _encode(self, request: ChatRequest) -> Any:
        """Return the prompt's ids and mask, each [1, L]; the template brings its own BOS, so none is added."""
        from jinja2 import TemplateError

        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        try:
            encoding = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        except TemplateError as error:
            raise RequestRejectedError(f"{self._name}: the chat template refuses the messages: {error}") from error
        return encoding.to(self._model.device)

    def _room(self, request: ChatRequest, num_prompt: int) -> int:
        """Return how many tokens may be generated."""
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        wanted = request.max_tokens or self._model.generation_config.max_new_tokens or _DEFAULT_MAX_TOKENS
        room: int = wanted if limit is None else min(wanted, limit - num_prompt)
        if room < 1:
            raise RequestRejectedError(f"{self._name}: the prompt's {num_prompt} tokens fill the context of {limit}")
        return room

    def _generate(self, prompt: Any, request: ChatRequest, max_tokens: int) -> "torch.Tensor":
        """Return prompt and reply, [1, L + num_new]; the process's random state is left as it was found."""
        import torch

        options: dict[str, Any] = {"max_new_tokens": max_tokens, "pad_token_id": self._pad_token()}
        if request.temperature is not None:
            options["do_sample"] = request.temperature > 0
            if request.temperature > 0:
                options["temperature"] = request.temperature
        with torch.inference_mode(), torch.random.fork_rng(enabled=request.seed is not None):
            if request.seed is not None:
                torch.manual_seed(request.seed)
            output: torch.Tensor = self._model.generate(**prompt, **options)
        return output

    def _end_tokens(self) -> tuple[int, ...]:
        """Return the tokens that end a reply."""
        end = self._model.generation_config.eos_token_id
        return () if end is None else (end,) if isinstance(end, int) else tuple(end)

    def _pad_token(self) -> int | None:
        pad: int | None = self._tokenizer.pad_token_id
        return pad if pad is not None else next(iter(self._end_tokens()), None)


def _outcome(text: str, was_cut: bool) -> ReplyOutcome:
    if not text.strip():
        return ReplyOutcome.EMPTY
    return ReplyOutcome.LENGTH if was_cut else ReplyOutcome.COMPLETE


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
