"""How a run reports: a live bar on a terminal, plain lines elsewhere, callbacks and an experiment tracker."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from accelerate import Accelerator
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.records import (
    HeldOutMetrics,
    PairAccounting,
    RewardTrainingResult,
    SourceAccounting,
    TrainingStart,
    TrainingStep,
)

__all__ = ["Tracking", "TrainingDisplay", "format_metrics", "format_pairs", "format_result"]


PROJECT = "music-rm"
"""Name of the project in a tracker."""
PLAIN_LINES = 20
"""Number of lines for all steps if the console is not a terminal."""


class _Bar(Progress):
    """A bar with a task's note below it, as 80 columns have no room beside it."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar and the note."""
        yield from super().get_renderables()
        yield from (Text(task.fields["note"]) for task in self.tasks)


class TrainingDisplay:
    """Shows a run on a console; pass its methods as the run's callbacks."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("ETA"), TimeRemainingColumn())
        self._progress = _Bar(*columns, console=console, disable=not console.is_terminal)
        self._task: TaskID | None = None
        self._first_step, self._began = 0, time.monotonic()

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on screen."""
        self._progress.stop()

    def on_start(self, start: TrainingStart) -> None:
        """Show the model, the pairs and the figures before training."""
        self._print(start.description)
        for note in start.notes:
            self._print(note)
        for line in format_pairs(start.pairs, start.sources, start.held_out):
            self._print(line)
        self._print(f"before: {format_metrics(start.before)}")
        if start.first_step:
            self._print(f"resumed after step {start.first_step}")
        self._task = self._progress.add_task("", total=start.num_steps, completed=start.first_step, note="")
        self._first_step, self._began = start.first_step, time.monotonic()

    def on_step(self, step: TrainingStep) -> None:
        """Show one step."""
        share = f"  MFU {step.model_flops_share:.1%}" if step.model_flops_share is not None else ""
        note = (
            f"loss {step.loss:.4f}  accuracy {step.accuracy:.2f}  lr {step.learning_rate:.2e}  "
            f"{step.num_tokens:,} tokens  {step.tokens_per_second:,.0f} tokens/s{share}"
        )
        if self._task is not None:
            self._progress.update(self._task, completed=step.step, note=note)
        every = max(1, step.num_steps // PLAIN_LINES)
        if not self._console.is_terminal and (step.step % every == 0 or step.step == step.num_steps):
            seconds_per_step = (time.monotonic() - self._began) / (step.step - self._first_step)
            eta = timedelta(seconds=round(seconds_per_step * (step.num_steps - step.step)))
            self._print(f"step {step.step}/{step.num_steps}  {note}  ETA {eta}")
        if step.evaluation is not None and step.step < step.num_steps:
            self._print(f"after step {step.step}: {format_metrics(step.evaluation.metrics)}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def format_pairs(pairs: PairAccounting, sources: Sequence[SourceAccounting], held_out: PairAccounting) -> Iterator[str]:
    """Yield lines on the training pairs, on their sources if these are worth it, and on the held-out pairs."""
    yield f"training pairs: {pairs}"
    if len(sources) > 1 or sources[0].weight != 1 or sources[0].num_with_margin:
        yield from (f"  {source}" for source in sources)
    yield f"held-out pairs: {held_out}"


def format_metrics(metrics: HeldOutMetrics | None) -> str:
    """Write held-out metrics in one line."""
    if metrics is None:
        return "no pairs are held out"
    ties = f" ({metrics.num_ties} ties)" if metrics.num_ties else ""
    return f"held-out accuracy {metrics.accuracy:.3f}, NLL {metrics.nll:.4f} on {metrics.num_pairs} pairs{ties}"


def format_result(result: RewardTrainingResult) -> str:
    """Summarise a run in a few lines."""
    stopped = ", stopped early" if result.stopped_early else ""
    merged = " with the adapters merged" if result.merged_adapters else ""
    is_last = result.saved_step == result.num_steps
    which = "the last weights" if is_last else f"the weights after step {result.saved_step}, the lowest held-out NLL"
    return (
        f"{result.num_steps} steps{stopped}, {result.num_tokens:,} tokens, {result.seconds:.1f} s "
        f"({result.tokens_per_second:,.0f} tokens/s)\npacking: {result.packing}\n"
        f"before: {format_metrics(result.before)}\nafter:  {format_metrics(result.after)}\n"
        f"saved to {result.config.out} as {result.saved_dtype}{merged}: {which}"
        + "".join(f"\nnote: {note}" for note in result.notes)
    )


class Tracking:
    """Sends a run's figures to accelerate's tracker, if there is one, and to the callbacks in the main process."""

    def __init__(
        self,
        accelerator: Accelerator,
        config: RewardTrainingConfig,
        on_start: Callable[[TrainingStart], None],
        on_step: Callable[[TrainingStep], None],
    ) -> None:
        self._accelerator = accelerator
        self._on_start, self._on_step = on_start, on_step
        if config.tracker is not None:
            values = config.model_dump(mode="json", exclude={"objective"}) | config.objective.model_dump()
            settings = {name: value for name, value in values.items() if value is not None}
            accelerator.init_trackers(PROJECT, config=settings)

    def start(self, start: TrainingStart) -> None:
        """Send what is known before the first step."""
        if start.before is not None and start.first_step == 0:
            self._accelerator.log(_held_out(start.before), step=0)
        if self._accelerator.is_main_process:
            self._on_start(start)

    def step(self, step: TrainingStep) -> None:
        """Send one step's figures."""
        names = ("loss", "accuracy", "learning_rate", "grad_norm", "num_tokens", "tokens_per_second")
        figures = {f"train/{name}": float(getattr(step, name)) for name in names}
        if step.model_flops_share is not None:
            figures["train/model_flops_share"] = step.model_flops_share
        if step.evaluation is not None:
            figures |= _held_out(step.evaluation.metrics)
        self._accelerator.log(figures, step=step.step)
        if self._accelerator.is_main_process:
            self._on_step(step)

    def end(self) -> None:
        """Let the tracker finish writing, and leave the process group."""
        self._accelerator.end_training()


def _held_out(metrics: HeldOutMetrics) -> dict[str, float]:
    return {f"held_out/{name}": value for name, value in metrics.model_dump(exclude={"num_pairs"}).items()}
