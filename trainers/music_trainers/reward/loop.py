"""The loop of a training run: step, evaluate, report, keep, until the steps are taken or no more is gained."""

from collections.abc import Callable

from music_trainers.reward.history import History
from music_trainers.reward.records import Evaluation, TrainingStep
from music_trainers.reward.run import TrainingRun
from music_trainers.reward.step.optimization import StepOutcome, TrainingDivergedError, learning_rate_at
from music_trainers.reward.throughput import Throughput

__all__ = ["train"]


def train(run: TrainingRun, history: History, speed: Throughput, on_step: Callable[[TrainingStep], None]) -> None:
    """Take the steps that are left; the history grows by them.

    Raises:
        TrainingDivergedError: Loss or rewards are no longer finite, or the loss far above what it was for several
            steps.
    """
    run.optimizer.scorer.train()
    batches = run.schedule.batches(start=history.step)
    while history.step < run.num_steps and not _is_stale(run, history):
        outcome, rate = _step(run, history, speed, next(batches))
        evaluation = _evaluation(run, history)
        on_step(_record(run, history, speed, outcome, rate, evaluation))
        _save_if_due(run, history)


def _is_stale(run: TrainingRun, history: History) -> bool:
    return 0 < run.config.patience <= history.num_stale


def _step(run: TrainingRun, history: History, speed: Throughput, indices: list[int]) -> tuple[StepOutcome, float]:
    """Take one optimizer step and note it."""
    config = run.config
    rate = learning_rate_at(history.step, run.num_steps, config)
    run.seed_noise(history.step)
    try:
        outcome = run.optimizer.step([run.train[i] for i in indices], rate)
    except TrainingDivergedError as error:
        step = history.step + 1
        raise _diverged(run, step, step - history.num_suspicious, str(error)) from error
    history.losses.append(outcome.loss)
    history.num_tokens += outcome.packing.num_sequence_tokens
    history.packing += outcome.packing
    speed.num_tokens += outcome.packing.num_sequence_tokens
    speed.num_computed += outcome.packing.num_tokens
    if history.has_diverged:
        first_bad_step = history.step - history.num_suspicious + 1
        what = f"loss {outcome.loss:.3g}, far above what it was, for several steps"
        raise _diverged(run, history.step, first_bad_step, what)
    return outcome, rate


def _diverged(run: TrainingRun, step: int, first_bad_step: int, what: str) -> TrainingDivergedError:
    # The weights behind a step are known to be good when the next step's loss is.
    return TrainingDivergedError(
        f"training diverged at step {step}: {what}. Lower the learning rate ({run.config.learning_rate:g}) or look at "
        f"the data; last good checkpoint: {run.checkpoints.last_before(first_bad_step - 1) or 'there is none'}"
    )


def _evaluation(run: TrainingRun, history: History) -> Evaluation | None:
    """Evaluate if it is time, and keep the weights if they are the best so far."""
    every, is_last = run.config.evaluate_every, history.step == run.num_steps
    if not (is_last or (every and history.step % every == 0)):
        return None
    try:
        evaluation = run.evaluate(history.step)
    except TrainingDivergedError as error:
        raise _diverged(run, history.step, history.step + 1 - history.num_suspicious, str(error)) from error
    if evaluation is not None:
        history.evaluations.append(evaluation)
        if history.best is evaluation and not is_last:
            run.save_best(history.step)
    return evaluation


def _save_if_due(run: TrainingRun, history: History) -> None:
    """Write a checkpoint if it is time, but not of a run that may be diverging."""
    every = run.config.checkpoint_every
    if every and history.step % every == 0 and not history.num_suspicious:
        run.save(history)


def _record(
    run: TrainingRun,
    history: History,
    speed: Throughput,
    outcome: StepOutcome,
    rate: float,
    evaluation: Evaluation | None,
) -> TrainingStep:
    return TrainingStep(
        step=history.step,
        num_steps=run.num_steps,
        loss=outcome.loss,
        accuracy=outcome.accuracy,
        learning_rate=rate,
        grad_norm=outcome.grad_norm,
        num_tokens=history.num_tokens,
        tokens_per_second=speed.tokens_per_second,
        model_flops_share=speed.model_flops_share,
        evaluation=evaluation,
    )
