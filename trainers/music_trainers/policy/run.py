"""`train_policy`: a run from the starting policy to the trained policy, its curves and its held-out conversations."""

from collections.abc import Callable, Sequence

import orjson

from music.conversation import Conversation
from music.errors import MusicError
from music.files import locked_folder, replace_file
from music.report import write_report
from music.reward.loading import save_model
from music_envs.prompts import load_prompts
from music_trainers.policy.checkpoints import PolicyCheckpoints
from music_trainers.policy.config import POLICY_FOLDER, RECORD_FILE, PolicyTrainingConfig
from music_trainers.policy.evaluation import HeldOutEpisodes
from music_trainers.policy.loading import LoadedPolicy
from music_trainers.policy.progress import Hooks, Progress
from music_trainers.policy.records import NOT_SAVED, PolicyEvaluation, PolicyTrainingResult, find_overoptimisation
from music_trainers.policy.report import policy_report
from music_trainers.policy.steps import TrainingStep
from music_trainers.policy.surroundings import Surroundings
from music_trainers.policy.trainer import TurnTrainer

__all__ = ["train_policy"]

SEEDS_PER_RUN = 10**6
"""Number of user seeds reserved for a run, so that runs with different seeds have different users."""


def train_policy(
    config: PolicyTrainingConfig,
    on_evaluation: Callable[[PolicyEvaluation], None] = lambda _: None,
    on_step: Callable[[int], None] = lambda _: None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> PolicyTrainingResult:
    """Train a policy on the rewards of simulated conversations, and evaluate it on held-out conversations.

    Writes into `config.out`: the trained policy (`policy`), `result.json`, `report.html`, what each step played
    (`training.jsonl`), and the held-out conversations with greedy replies, before and after training (`before.jsonl`,
    `after.jsonl`). Needs the extra `trl`.

    If a server cannot be reached for too long, or on Ctrl-C, the run is saved before the error is raised. On the CPU, a
    resumed run gives the same weights as one that was never stopped, if the user and the reward answer the same.

    Args:
        config: The settings.
        on_evaluation: Called with each evaluation.
        on_step: Called after each step with its number, from 1, and with that of a resumed run at its start.
        on_notice: Called with lines for people: an outage, its end, how to resume.

    Raises:
        InvalidInputError: An argument is invalid, the policy is not a chat model, or `config.out` holds another run.
        OutageError: A server could not be reached for `config.max_outage` seconds.

    Example:
        >>> from pathlib import Path
        >>> from music_trainers import PolicyTrainingConfig, train_policy
        >>> result = train_policy(PolicyTrainingConfig(out=Path("runs/rl"), num_steps=15))
        >>> print([(point.step, point.reward.value) for point in result.curve])
    """
    config.require_unfinished()
    with locked_folder(config.out):
        config.require_unfinished()  # another run may have finished meanwhile
        return _train(config, Hooks(on_evaluation, on_step, on_notice))


def _train(config: PolicyTrainingConfig, hooks: Hooks) -> PolicyTrainingResult:
    prompts = load_prompts(config.seeds) if config.seeds else ()
    checkpoints = PolicyCheckpoints.of(config, prompts)
    if not config.resume:
        checkpoints.remove()  # of an unfinished run that this one replaces
    last = checkpoints.load_last()
    policy = LoadedPolicy.load(config)
    with Surroundings.open(config, policy, prompts, hooks.on_notice) as around:
        first = config.seed * SEEDS_PER_RUN
        seeds = range(first, first + config.num_steps * config.num_groups)
        trainer = TurnTrainer(
            config, around.training, policy.model, policy.tokenizer, policy.tokens, seeds, around.rules
        )
        start = policy.starting_policy(trainer.ref_model)
        held_out = HeldOutEpisodes(config, around.held_out, around.judge, start, policy.tokens, around.rules)
        progress = Progress(config, trainer, held_out, checkpoints, hooks)
        if last is None:
            greedy_before, before = held_out.evaluate(policy.model, 0, greedy=True)
            _write_conversations(config, "before", before)
            progress.begin(greedy_before)
        else:
            progress.resume(last[1])
        try:
            progress.train(last[0] if last else None)
            greedy_after, after = held_out.evaluate(policy.model, config.num_steps, greedy=True)
        except (KeyboardInterrupt, MusicError) as error:
            _save(progress, error, hooks)
            raise
    if told := TrainingStep.describe(progress.steps):
        hooks.on_notice(f"training: {told}")
    result = PolicyTrainingResult(
        config=config,
        curve=tuple(progress.curve),
        greedy_before=progress.greedy_before,
        greedy_after=greedy_after,
        overoptimisation=find_overoptimisation(tuple(progress.curve)),
        seconds=progress.seconds,
    )
    _write_conversations(config, "after", after)
    _finish(result, policy)
    checkpoints.remove()
    return result


def _save(progress: Progress, error: BaseException, hooks: Hooks) -> None:
    """Save an interrupted run, and report how to resume it."""
    path = progress.save()
    if path is not None:
        hooks.on_notice(f"saved the run to {path}; resume it with the same command and --resume")
    elif progress.steps:
        hooks.on_notice("the step is lost; resume from the last checkpoint with the same command and --resume")


def _write_conversations(config: PolicyTrainingConfig, name: str, conversations: Sequence[Conversation]) -> None:
    rows = ({"messages": conversation.to_messages()} for conversation in conversations)
    lines = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    replace_file(config.out / f"{name}.jsonl", lines)


def _finish(result: PolicyTrainingResult, policy: LoadedPolicy) -> None:
    """Write the policy, the report, and last the record, which marks a finished run."""
    out = result.config.out
    save_model(policy.merged(), policy.tokenizer, out / POLICY_FOLDER)
    write_report(policy_report(result), out / "report.html")
    replace_file(out / RECORD_FILE, result.model_dump_json(indent=2, exclude=NOT_SAVED) + "\n")
