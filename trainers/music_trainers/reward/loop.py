"""The loop of a training run: step, evaluate, report, save, until all steps are taken or patience runs out."""

from collections.abc import Callable, Sequence

from music_trainers.reward.history import History, Throughput
from music_trainers.reward.optimizer import StepOutcome, TrainingDivergedError, learning_rate_at
from music_trainers.reward.pairs import EncodedPair
from music_trainers.reward.records import HeldOutEvaluation, TrainingStep
from music_trainers.reward.run import TrainingRun

__all__ = ["take_steps"]


def take_steps(run: TrainingRun, history: History, speed: Throughput, on_step: Callable[[TrainingStep], None]) -> None:
    """Take the remaining steps and add them to the history.

    Raises:
        TrainingDivergedError: Loss or rewards are no longer finite, or for several steps the loss is far above what it
            was.
    """
    config = run.config
    run.optimizer.scorer.train()
    batches = run.schedule.batches(start=history.step)
    while history.step < run.num_steps and not 0 < config.patience <= history.num_stale:
        rate = learning_rate_at(history.step, run.num_steps, config)
        outcome = _take_step(run, history, [run.data.train[i] for i in next(batches)], rate)
        speed.num_tokens += outcome.packing.num_sequence_tokens
        speed.num_computed += outcome.packing.num_tokens
        evaluation = _evaluate_if_due(run, history)
        step = TrainingStep(
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
        on_step(step)
        is_due = config.checkpoint_every and history.step % config.checkpoint_every == 0
        if is_due and not history.num_suspicious:  # a run that may be diverging is not saved
            run.save(history)


def _take_step(run: TrainingRun, history: History, batch: Sequence[EncodedPair], rate: float) -> StepOutcome:
    """Take one optimizer step and add it to the history."""
    run.seed_noise(history.step)
    try:
        outcome = run.optimizer.step(batch, rate)
    except TrainingDivergedError as error:
        step = history.step + 1
        raise _diverged(run, step, step - history.num_suspicious, str(error)) from error
    history.losses.append(outcome.loss)
    history.num_tokens += outcome.packing.num_sequence_tokens
    history.packing += outcome.packing
    if history.has_diverged:
        first_bad_step = history.step - history.num_suspicious + 1
        what = f"loss {outcome.loss:.3g}, far above what it was, for several steps"
        raise _diverged(run, history.step, first_bad_step, what)
    return outcome


def _evaluate_if_due(run: TrainingRun, history: History) -> HeldOutEvaluation | None:
    """Evaluate if it is due, and save the weights if they are the best so far."""
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


def _diverged(run: TrainingRun, step: int, first_bad_step: int, what: str) -> TrainingDivergedError:
    # The weights after a step are known to be good when the next step's loss is.
    return TrainingDivergedError(
        f"training diverged at step {step}: {what}. Lower the learning rate ({run.config.learning_rate:g}) or check "
        f"the data; last good checkpoint: {run.checkpoints.last_before(first_bad_step - 1) or 'none'}"
    )
