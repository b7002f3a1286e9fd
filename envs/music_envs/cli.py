"""`music best-of-n`: a reward selects replies, and a judge reports what the selection is worth."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

from music.cli import AsJson, Requests, console, counted, emit, run_async, with_flags
from music.judges import JudgeSettings
from music.judges.settings import require_judge
from music_envs.best_of_n.config import BestOfNEvaluationConfig

if TYPE_CHECKING:
    from rich.console import RenderableType

    from music_envs.best_of_n.evaluation import BestOfNEvaluation

__all__ = ["best_of_n"]

GAP = (
    "gap: what the best of n gains over n = 1 by the selector's reward, less what it gains by the judge, both in "
    "standard deviations of the candidates. A grade that falls while the reward rises is over-optimisation.\n"
)


@with_flags
def best_of_n(
    config: BestOfNEvaluationConfig,
    requests: Requests,
    judge_settings: Annotated[JudgeSettings, "judge"],
    as_json: AsJson = False,
) -> None:
    """Multi-turn Best-of-N: a reward chooses among N candidates.

    With greedy and whole, the report shows what fewer candidates would have brought, by the reward and by the judge.

    Example: music best-of-n --reward runs/rm --baseline random --n 8 --turns 3
    """
    from music_envs.best_of_n.evaluation import evaluate_best_of_n

    require_judge(judge_settings, [config.judge])
    client = requests.client_settings()
    evaluation = evaluate_best_of_n(
        config,
        options=requests.options,
        client=client,
        judge_settings=judge_settings.model_copy(
            update={"client": client, "max_in_flight": config.sizes.max_in_flight}
        ),
        progress=counted,
        note=lambda text: console.print(text, markup=False),
    )
    result = run_async(evaluation)
    given = {field.name: getattr(result, field.name) for field in fields(result)}
    emit({name: value for name, value in given.items() if name != "files" or value}, as_json, _shown(result))


def _shown(result: "BestOfNEvaluation") -> "RenderableType":
    """Lay the result out for people."""
    from rich.console import Group
    from rich.text import Text

    from music_envs.best_of_n.report import by_n_table, remarks, selectors_table

    sizes = f"{result.config.num_turns} turns, {result.num_conversations} conversations"
    title = f"Best-of-{result.config.num_candidates}, {sizes}, {result.mode}"
    shown: list[RenderableType] = [selectors_table(title, result.judge, result.arms)]
    shown += [by_n_table(arm, result.judge) for arm in result.arms if arm.by_n]
    if any(row.gap for arm in result.arms for row in arm.by_n):
        shown.append(Text(GAP))
    shown += [Text(remark) for arm in result.arms for remark in remarks(arm)]
    if result.comparison:
        shown.append(Text(f"{' against '.join(arm.selector for arm in result.arms)}: {result.comparison}"))
    for name, path in (result.files or {}).items():
        shown.append(Text(f"{f'{name} set' if name in ('sft', 'dpo') else 'rollouts'}: {path}"))
    return Group(*shown)
