"""The demo's result for people: tables in the terminal, and a report."""

from rich.console import Console
from rich.text import Text

from music.report import Report
from music_trainers.demo.plots import best_of_n_plot, defects_plot
from music_trainers.demo.records import DemoResult
from music_trainers.demo.tables import notes, tables
from music_trainers.miniature.tables import list_grid, rich_table

__all__ = ["REPORT_NAME", "demo_report", "render_terminal"]

REPORT_NAME = "report.html"
"""The report's name in the demo's output folder."""

INTRO = """\
A reward model for conversations is usually trained on pairs that differ in their last reply only, and may learn to look
at nothing else. MUSIC (Algorithm 1 of arXiv 2512.24693) adds simulated pairs whose sides differ at every turn: a
simulated user talks with an assistant on both sides, and on the rejected side the assistant answers a modified request
under the original one. This run did that on a small synthetic world, in which a program can check every reply: it
simulated the pairs with language models behind an HTTP server, trained one small reward model per arm from the same
starting model, on the same {num_base_pairs:,} base pairs plus {num_contrastive_pairs:,} simulated pairs from the same
seed contexts, and measured them on held-out data. The arms differ only in which contrasts those simulated pairs hold.
Error bars and brackets are 95% confidence intervals given the trained models: they do not cover another training seed.
The models are tiny and the world is narrow; read differences between arms, not absolute figures."""


def render_terminal(result: DemoResult, console: Console) -> None:
    """Print tables, findings and notes; made for 100 columns, plain where the console is no terminal."""
    for table in tables(result):
        console.print(Text(table.title, style="bold"))
        console.print(rich_table(table))
        console.print(Text(table.caption, style="dim"), end="\n\n")
    console.print(Text("Findings", style="bold"))
    console.print(list_grid([("-", finding) for finding in result.findings]))
    console.print()
    console.print(list_grid([*notes(result).items()]))
    # A path is for copying: never broken over lines.
    console.print(Text(f"Report    {result.config.out / REPORT_NAME}"), soft_wrap=True)


def demo_report(result: DemoResult) -> Report:
    """Return the demo's result as a report."""
    return Report(
        title="Reward models that judge whole conversations: the paper in miniature",
        intro=INTRO.format_map(result.config.sizes.model_dump()),
        findings=result.findings,
        parts=[defects_plot(result), best_of_n_plot(result), *tables(result)],
        notes=notes(result),
    )
