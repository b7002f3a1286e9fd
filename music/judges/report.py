"""`JudgeReport`: who judged, by what, what came of it, how far it can be trusted, and what it cost."""

from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict

from music.judges.model import JudgeModel
from music.llm.spending.records import Spending
from music.prompts import load_template
from music.statistics import Figure, describe

__all__ = ["JudgeReport"]


class JudgeReport(BaseModel):
    """Who judged, by what, what came of it, how far it can be trusted, and what it cost."""

    model_config = ConfigDict(frozen=True)

    judge: str
    """The endpoint."""
    prompt: str
    prompt_digest: str
    num_samples: int
    temperature: float | None
    num_judgements: int
    """Asked for; those of an earlier run that were replayed included."""
    problems: dict[str, int]
    """Judgements that there are not, by why; they count for neither side."""
    figures: tuple[Figure, ...]
    """Position bias and the like; see `music.judges.reliability`."""
    spending: Spending
    """Of all replies in the journal, those of earlier runs included."""

    @classmethod
    def of(cls, model: JudgeModel, figures: Sequence[Figure]) -> Self:
        """Sum a judge up."""
        template = load_template(model.settings.prompt)
        return cls(
            judge=model.name,
            prompt=template.name,
            prompt_digest=template.digest,
            num_samples=model.settings.num_samples,
            temperature=model.settings.sampling.temperature,
            num_judgements=model.num_judgements,
            problems={problem.value: num for problem, num in sorted(model.problems.items())},
            figures=tuple(figures),
            spending=model.ledger.spending(),
        )

    def lines(self) -> Iterator[str]:
        """Yield it in words, a line each."""
        missing = ", ".join(f"{problem} {num}" for problem, num in self.problems.items())
        yield f"judge {self.judge}, prompt {self.prompt}: {self.num_judgements} judgements, failed: {missing or 'none'}"
        for figure in self.figures:
            if figure.estimate is not None:
                yield f"  {figure.name}: {_value(figure)} ({figure.note})"
        cost = "" if self.spending.cost is None else f", {self.spending.cost:.2f} USD"
        yield f"  paid for: {self.spending.num_calls} calls, {self.spending.num_tokens:,} tokens{cost}"
        if num := self.spending.sum("num_reused"):
            yield f"  from the cache, not paid for: {num} replies"


def _value(figure: Figure) -> str:
    assert figure.estimate is not None
    return str(figure.estimate) if figure.chance is None else describe(figure.estimate, null=figure.chance)
