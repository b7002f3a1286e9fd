"""What a training run looks like on a terminal of 80 columns."""

import io
import re

from rich.console import Console

from music_trainers.reward.progress import TrainingDisplay
from music_trainers.reward.records import PairAccounting, SourceAccounting, TrainingStart, TrainingStep

PAIRS = PairAccounting(num_read=9, num_used=9, num_truncated=0)
SOURCE = SourceAccounting(name="pairs", weight=1, pairs=PAIRS, num_drawn=9, num_with_margin=0)


def test_bar_step_and_eta_stand_on_one_line_of_80_columns_with_the_figures_below():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    start = TrainingStart(
        description="a model",
        pairs=PAIRS,
        sources=(SOURCE,),
        held_out=PAIRS,
        before=None,
        first_step=0,
        num_steps=12_345,
        notes=("a note",),
    )
    step = TrainingStep(
        step=1234,
        num_steps=12_345,
        loss=0.6931,
        accuracy=0.5,
        learning_rate=2e-6,
        grad_norm=1.0,
        num_tokens=123_456_789,
        tokens_per_second=54_321.0,
        model_flops_share=0.35,
    )
    with TrainingDisplay(console) as display:
        display.on_start(start)
        display.on_step(step)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue()).replace("\r", "\n")
    assert "a note\n" in shown
    assert any(
        "━" in line and "1234/12345" in line and re.search(r"ETA [-\d:]+\s*$", line) for line in shown.splitlines()
    )
    assert "loss 0.6931  accuracy 0.50  lr 2.00e-06  123,456,789 tokens" in shown
