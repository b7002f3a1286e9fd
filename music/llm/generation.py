"""Generation with a transformers model in this process, with a request's `Sampling` and stop texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from music.llm.chat import Sampling

if TYPE_CHECKING:
    import torch

__all__ = ["before_stop", "generate", "up_to_stop"]

_DEFAULT_TEMPERATURE = 1.0
"""Temperature of a model that would be greedy: repeating a request must be able to give another reply."""


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    seed: int | None,
    options: Mapping[str, Any],
) -> list[list[int]]:
    """Return the new tokens of a batch; a seed leaves the process's random state unchanged.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer.
        prompts: The tokens of each prompt.
        sampling: How tokens are drawn, and where a reply stops.
        seed: The batch's seed; None for the process's random state.
        options: Further arguments of `generate`: `max_new_tokens`, and `pad_token_id`, None if there is none.

    Returns:
        `[num_prompts, num_new]`, padded on the right.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    rows = [torch.tensor(ids) for ids in prompts]
    pad = options["pad_token_id"] or 0
    ids = pad_sequence(rows, batch_first=True, padding_value=pad, padding_side="left")
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")
    drawing = _drawing(sampling, is_greedy=not model.generation_config.do_sample)
    if sampling.stop:
        drawing["stopping_criteria"] = [_stopping(sampling.stop, tokenizer, ids.shape[1])]
    inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
    with torch.inference_mode(), torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        output = model.generate(**inputs, **options, **drawing)
    tokens: list[list[int]] = output[:, ids.shape[1] :].tolist()
    return tokens


def before_stop(text: str, stop: Sequence[str]) -> str:
    """Return a text up to its first stop text."""
    places = [place for end in stop if (place := text.find(end)) >= 0]
    return text[: min(places)] if places else text


def up_to_stop(tokens: list[int], stop: Sequence[str], tokenizer: Any) -> list[int]:
    """Return the shortest prefix of the tokens whose text contains a stop text."""
    for num in range(1, len(tokens)):
        text = tokenizer.decode(tokens[:num], skip_special_tokens=True)
        if before_stop(text, stop) != text:
            return tokens[:num]
    return tokens


def _drawing(sampling: Sampling, *, is_greedy: bool) -> dict[str, Any]:
    """Return the arguments of `generate` that set the sampling.

    Args:
        sampling: As in the request.
        is_greedy: Whether the model's own generation settings are greedy.
    """
    options: dict[str, Any] = {}
    temperature = _DEFAULT_TEMPERATURE if sampling.temperature is None and is_greedy else sampling.temperature
    if temperature is not None:
        options["do_sample"] = temperature > 0
    if temperature:
        options["temperature"] = temperature
    if sampling.top_p is not None and temperature != 0:
        options["top_p"] = sampling.top_p
    return options


def _stopping(stop: Sequence[str], tokenizer: Any, num_prompt: int) -> Callable[..., "torch.Tensor"]:
    """Return a criterion that stops rows at a stop text after a prompt of `num_prompt` tokens.

    transformers' own `stop_strings` rebuilds the vocabulary as text, and fails for some tokenizers.
    """
    import torch

    def ended(input_ids: "torch.Tensor", scores: object, **_: object) -> "torch.Tensor":
        texts = tokenizer.batch_decode(input_ids[:, num_prompt:], skip_special_tokens=True)
        return torch.tensor([before_stop(text, stop) != text for text in texts], device=input_ids.device)

    return ended
