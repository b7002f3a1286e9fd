"""A vLLM server that generates the replies of a policy in training, and gets its weights from TRL.

- `ServerReplies`: replies, and the log-probabilities that they were sampled with.
- `at_start`, `require_context`, `while_generating`: what can be wrong with the server, as errors for people.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from requests import RequestException

from music.errors import InvalidInputError
from music_envs.credit import USER
from music_trainers.policy.outages import OutageError
from music_trainers.policy.rollouts import Trajectory

__all__ = ["ServerReplies", "at_start", "require_context", "while_generating"]

Tokens = tuple[int, ...]


class ServerReplies:
    """Samples replies on the vLLM server of a trainer, as `roll_out` needs them.

    Use one for the rollouts of one step: all replies must come from the same weights.

    Args:
        trainer: TRL's trainer, with `use_vllm`. It sends its weights to the server if they have changed.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._logprobs: dict[tuple[Tokens, Tokens], Sequence[float | None]] = {}

    def __call__(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Sample one reply to each prompt."""
        # This method is private, but only it sends the weights and reads the server's answer.
        replies, logprobs = self._trainer._generate_single_turn([list(prompt) for prompt in prompts], None, {}, 1)
        for prompt, reply, values in zip(prompts, replies, logprobs, strict=True):
            # The same reply to the same prompt has the same log-probabilities.
            self._logprobs[tuple(prompt), tuple(reply)] = values
        return [list(reply) for reply in replies]

    def logprobs(self, row: Trajectory) -> list[float | None]:
        """Return the log-probability of each completion token; 0.0 for those that are not the policy's."""
        ids, values = row.prompt_ids + row.completion_ids, list[float | None]()
        for turn, tokens in groupby(row.turns):
            start = len(row.prompt_ids) + len(values)
            end = start + len(list(tokens))
            is_users = turn == USER
            values += [0.0] * (end - start) if is_users else self._logprobs[tuple(ids[:start]), tuple(ids[start:end])]
        return values


@contextmanager
def at_start(url: str | None) -> Iterator[None]:
    """Name the server in the errors of TRL while it sets up a trainer.

    Args:
        url: The server's base URL; None for no server.

    Raises:
        InvalidInputError: vLLM or a GPU is missing, or the server lacks a setting that TRL needs.
        OutageError: There is no server.
    """
    try:
        with while_generating(url):
            yield
    except (ImportError, RuntimeError) as error:
        if url is None:
            raise
        raise InvalidInputError(f"--vllm-server {url}: {error}") from error


@contextmanager
def while_generating(url: str | None) -> Iterator[None]:
    """Name the server in errors of requests to it. TRL has repeated these for about a minute.

    There is no waiting: a server that was started anew has other weights, and TRL cannot send it those in training.

    Raises:
        OutageError: The server cannot be reached.
    """
    try:
        yield
    except RequestException as error:
        if url is None:
            raise
        raise OutageError(
            f"the vLLM server {url} cannot be reached ({error}): see that it runs, then repeat the command"
        ) from error


def require_context(trainer: Any, max_prompt_tokens: int | None) -> None:
    """Refuse conversations that are longer than what the server reads and writes.

    Raises:
        InvalidInputError: The longest prompt leaves no room for a reply.
    """
    info = trainer.vllm_generation.vllm_client.get_server_info()
    limit, reply = info["model_config"]["max_model_len"], trainer.args.generation_kwargs["max_tokens"]
    if max_prompt_tokens is not None and max_prompt_tokens + reply > limit:
        raise InvalidInputError(
            f"--max-length: expected at most {limit}, which is the --max-model-len of the vLLM server, "
            f"got {max_prompt_tokens + reply + 1}"
        )
