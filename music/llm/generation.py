"""Generation with a transformers model in this process, with a request's `Sampling` and stop texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from music.llm.chat import Sampling

if TYPE_CHECKING:
    import torch

__all__ = ["before_stop", "generate", "up_to_stop"]

_DEFAULT_TEMPERATURE = 1.0
"""Temperature of a model that would be greedy: repeating a request must be able to give another reply."""
_DEFAULT_TOP_K = 50
"""That of transformers."""
_UNWARPED = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": None, "typical_p": 1.0}
"""Settings with which transformers samples from the scores as they are."""


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    seeds: Sequence[int | None],
    options: Mapping[str, Any],
) -> list[list[int]]:
    """Return the new tokens of a batch. Each prompt draws from its own seed, so the batch does not matter.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer.
        prompts: The tokens of each prompt.
        sampling: How tokens are drawn, and where a reply stops.
        seeds: Of each prompt; None for the process's random state.
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
    drawing = _drawing(model.generation_config, sampling, seeds)
    if sampling.stop:
        drawing["stopping_criteria"] = [_stopping(sampling.stop, tokenizer, ids.shape[1])]
    inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
    with torch.inference_mode(), torch.random.fork_rng():  # its draws from one token are no draws
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


def _drawing(own: Any, sampling: Sampling, seeds: Sequence[int | None]) -> dict[str, Any]:
    """Return the arguments of `generate` that set the sampling.

    Args:
        own: The model's generation settings.
        sampling: As in the request.
        seeds: Of each prompt.
    """
    from transformers import LogitsProcessorList

    usual = (own.temperature if own.do_sample else None) or _DEFAULT_TEMPERATURE
    temperature = usual if sampling.temperature is None else sampling.temperature
    if temperature == 0:
        return {"do_sample": False}
    top_p = sampling.top_p if sampling.top_p is not None else own.top_p
    processors = [*_warpers(own, temperature, top_p), _draw_by_row(seeds)]
    return {"do_sample": True, **_UNWARPED, "logits_processor": LogitsProcessorList(processors)}


def _warpers(own: Any, temperature: float, top_p: float | None) -> list[Any]:
    """Return what transformers does to logits before it samples, in its order."""
    from transformers.generation import logits_process as steps

    top_k = _DEFAULT_TOP_K if own.top_k is None else own.top_k
    found: list[Any] = [steps.TemperatureLogitsWarper(float(temperature))] if temperature != 1 else []
    if top_k:
        found.append(steps.TopKLogitsWarper(top_k))
    if top_p is not None and top_p < 1:
        found.append(steps.TopPLogitsWarper(top_p))
    if own.min_p is not None:
        found.append(steps.MinPLogitsWarper(own.min_p))
    if own.typical_p is not None and own.typical_p < 1:
        found.append(steps.TypicalLogitsWarper(own.typical_p))
    return found


def _draw_by_row(seeds: Sequence[int | None]) -> Callable[..., "torch.Tensor"]:
    """Return a step that draws each row's token with the row's own generator, and leaves only that token."""
    import torch

    # Without a seed, a generator's own one is drawn from the process's random state.
    plain = [int(torch.randint(2**62, ())) if seed is None else seed for seed in seeds]
    generators = [torch.Generator().manual_seed(seed) for seed in plain]

    def draw(input_ids: object, scores: "torch.Tensor") -> "torch.Tensor":
        uniform = torch.stack([torch.rand((), generator=generator, dtype=torch.float64) for generator in generators])
        cumulative = scores.softmax(-1, dtype=torch.float64).cumsum(-1)
        place = uniform.to(scores.device)[:, None] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, place, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)

    return draw


def _stopping(stop: Sequence[str], tokenizer: Any, num_prompt: int) -> Callable[..., "torch.Tensor"]:
    """Return a criterion that stops rows at a stop text after a prompt of `num_prompt` tokens.

    transformers' own `stop_strings` rebuilds the vocabulary as text, and fails for some tokenizers.
    """
    import torch

    def ended(input_ids: "torch.Tensor", scores: object, **_: object) -> "torch.Tensor":
        texts = tokenizer.batch_decode(input_ids[:, num_prompt:], skip_special_tokens=True)
        return torch.tensor([before_stop(text, stop) != text for text in texts], device=input_ids.device)

    return ended
