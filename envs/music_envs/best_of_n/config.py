"""Settings of Best-of-N runs. The command line imports this module for its flags, so it imports little."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from music.config import Config, Flag
from music.registry import SANDBOX

__all__ = ["BestOfNConfig", "BestOfNEvaluationConfig", "BestOfNMode"]


class BestOfNMode(StrEnum):
    """The name of a strategy."""

    GREEDY = "greedy"
    ANYTIME = "anytime"
    BEAM = "beam"
    WHOLE = "whole"


class BestOfNConfig(Config):
    """Numbers of candidates, turns and requests, and the seed."""

    num_candidates: Annotated[int, Flag(name="--n")] = Field(default=4, ge=1)
    """N: candidates per history; with whole, conversations per seed; with anytime, a maximum."""
    num_turns: Annotated[int, Flag(name="--turns")] = Field(default=3, ge=1)
    """H: assistant replies per conversation, those of the seed not counted."""
    seed: int = 0
    """Seed of all sampling, and of the sandbox's prompts."""
    max_in_flight: int = Field(default=64, ge=1)
    """Bound on simultaneous requests."""


class BestOfNEvaluationConfig(Config):
    """Settings of an evaluation of a reward as the selector of Best-of-N."""

    reward: str
    """The selector: oracle, length, random, MODEL, MODEL@BASE_URL (behind a server), or prefix-mean:MODEL, which takes
    the mean over all turns. Among replies to one history, MODEL and prefix-mean:MODEL choose alike: prefix-mean
    matters only with --mode whole and beam."""
    baseline: str | None = None
    """Another selector to compare with."""
    mode: BestOfNMode = BestOfNMode.GREEDY
    """greedy: keep the best of N replies at every turn, as in the paper. anytime: the same, but stop drawing early.
    beam: continue several partial conversations. whole: keep the best of N conversations."""
    sizes: BestOfNConfig = BestOfNConfig()
    """Candidates, turns, seed and simultaneous requests."""
    width: int | None = Field(default=None, ge=1)
    """beam: partial conversations kept; by default 2."""
    margin: float | None = Field(default=None, ge=0)
    """anytime: stop a turn when the best reward is this far ahead."""
    token_budget: int | None = Field(default=None, ge=1)
    """anytime: tokens per conversation, including prompts and the user's calls."""
    round_size: int | None = Field(default=None, ge=1)
    """anytime: candidates per round; by default 1."""
    seeds: str = SANDBOX
    """Source of the prompts: preference file, folder or hub id, or sandbox."""
    num_conversations: int = Field(default=200, ge=1)
    """Number of conversations."""
    assistant: str = "sandbox:fair"
    """Endpoint that offers the candidates."""
    user: str = SANDBOX
    """Endpoint that plays the user."""
    temperature: float | None = Field(default=None, ge=0)
    """The assistant's temperature; by default the endpoint's own. Models in this process sample with 1 by default."""
    max_reply_tokens: int | None = Field(default=None, ge=1)
    """Bound on a reply's tokens; --option user.max_tokens=N bounds the user's messages. What is cut there is used."""
    judge: str | None = None
    """The judge: the values of --reward, which grade (by default oracle if seeds and user are the sandbox's); or
    judge:ENDPOINT, a language model that compares each conversation with the baseline's, in both orders."""
    out: Path | None = None
    """Folder for the rollouts, as JSON lines, and for all replies."""
    distil: bool = False
    """Also write what --reward chose to the --out folder, as training sets that TRL reads: sft.jsonl, the kept
    conversations, and dpo.jsonl, the best and the worst candidate of every choice."""
    distil_margin: float | None = Field(default=None, ge=0)
    """distil: least difference between the scores of a pair; by default any."""

    @property
    def selectors(self) -> tuple[str, ...]:
        """The reward, and the baseline if there is one."""
        return (self.reward,) if self.baseline is None else (self.reward, self.baseline)
