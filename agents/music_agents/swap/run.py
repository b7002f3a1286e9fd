"""Swapped pairs on disk: the files of a simulation, without a journal, as nothing was paid for."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from music.conversation import Conversation, Message
from music.errors import InvalidInputError
from music.llm.spending.records import Spending
from music.pairs import ContrastivePair, TurnContrast, Usage
from music_agents.contrasts import Schedule
from music_agents.defects.swaps import Transcript, digest_transcripts
from music_agents.failures import FailedPair, FailureReason
from music_agents.output.failure_log import FailureLog
from music_agents.output.pair_table import PairTable
from music_agents.output.shard_folder import drop_rows, has_rows
from music_agents.pair_simulator import Outcome, pair_id, pass_gates
from music_agents.quality import GateView, PairGate, RefusalRule, default_gates, diagnose_pairs, read_saved_pairs
from music_agents.run.card import write_pairs_card
from music_agents.run.report import RunReport, RunStatus, read_report, versions, write_report
from music_agents.run.session import FAILURES, REPORT
from music_agents.seeds import neutralised
from music_agents.swap.config import SwapConfig
from music_agents.swap.matching import Matches, match_turns
from music_agents.swap.turns import TurnTable, request_and_reply

__all__ = ["SwapMaker", "make_swaps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapMaker:
    """Makes the pair of any conversation: unchanged, and with the replies of the partners of its turns.

    Attributes:
        transcripts: The conversations, by index.
        table: Their scheduled turns.
        matches: The partners of these turns.
        run_seed: The run's seed.
        gates: Checks of a finished pair.
    """

    transcripts: Sequence[Transcript]
    table: TurnTable
    matches: Matches
    run_seed: int
    gates: Sequence[PairGate] = ()

    async def run(self, index: int) -> Outcome:
        """Make the pair with this index, or return why it failed."""
        one = self.transcripts[index]
        failed = partial(FailedPair, index=index, id=pair_id(self.run_seed, index), seed_id=one.id)
        begin, end = np.searchsorted(self.table.conversations, (index, index + 1))
        rows = [row for row in range(begin, end) if self.matches.partners[row] >= 0]
        if not rows:
            detail = f"none of the {end - begin} scheduled turns has a similar request in another conversation"
            return failed(reason=FailureReason.NO_SIMILAR_REQUEST, detail=detail)
        pair = self._pair(index, neutralised(one.conversation), rows)
        if pair.chosen == pair.rejected:  # the replies differed in control tokens alone
            return failed(reason=FailureReason.IDENTICAL_SIDES, detail="no turn of the rejected side differs")
        return await pass_gates(pair, self.gates, GateView(pair=index, run_seed=self.run_seed), failed)

    def _pair(self, index: int, chosen: Conversation, rows: Sequence[int]) -> ContrastivePair:
        """Return the pair in which the turns of these rows are swapped."""
        one, ends = self.transcripts[index], chosen.turn_ends
        messages, contrasts = list(chosen.messages), []
        for row in rows:
            turn, partner = int(self.table.turns[row]), int(self.matches.partners[row])
            other = self.transcripts[self.table.conversations[partner]]
            other_turn = int(self.table.turns[partner])
            request, reply = request_and_reply(neutralised(other.conversation), other_turn)
            messages[ends[turn] - 1] = Message.trusted("assistant", reply)
            similarity = float(self.matches.similarities[row])
            parameters = {"conversation": other.id, "turn": other_turn, "similarity": similarity}
            record = {"turn": turn, "strategy": "swap", "modified_instruction": request, "parameters": parameters}
            contrasts.append(TurnContrast.model_validate(record))
        return ContrastivePair.model_construct(
            id=pair_id(self.run_seed, index),
            chosen=chosen,
            rejected=Conversation(messages=tuple(messages)),
            source=one.source,
            seed_id=one.id,
            num_seed_messages=int(chosen.has_system),
            contrasts=tuple(contrasts),
            models={},
            usage=Usage(),
            seed=self.run_seed,
        )


async def make_swaps(
    config: SwapConfig,
    out: Path,
    transcripts: Sequence[Transcript],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> RunReport:
    """Make a pair of each conversation into a directory.

    The same call makes the same pairs. If the directory holds them already, nothing is done; if an earlier call was
    interrupted, its pairs are made again.

    Args:
        config: Settings of the run.
        out: The directory of the run, with the files of a simulation except the journal.
        transcripts: The conversations; `select` leaves out those without a scheduled turn.
        advance: Is called with 1 after each conversation.

    Raises:
        InvalidInputError: The directory holds other pairs, or is a file.
    """
    started = time.monotonic()
    settings = config.model_dump(mode="json") | {"strategy": "swap", "transcripts": digest_transcripts(transcripts)}
    if (complete := _begin(out, settings)) is not None:
        return complete
    report = _new_report(settings, len(transcripts))
    write_report(out / REPORT, report)
    failures = await _write(_maker(config, transcripts), out, config.shard_size, advance)
    report = report.model_copy(
        update={
            "status": RunStatus.COMPLETE,
            "num_pairs": len(transcripts) - failures.total(),
            "failures": dict(failures),
            "wall_seconds": round(time.monotonic() - started, 3),
            "diagnostics": diagnose_pairs(read_saved_pairs(out), failures),
        }
    )
    write_report(out / REPORT, report)
    write_pairs_card(out, report)
    return report


def _begin(out: Path, settings: Mapping[str, Any]) -> RunReport | None:
    """Prepare the directory; return the report of the same run if it is complete."""
    if out.is_file():
        raise InvalidInputError(f"{out}: expected a folder to write to (--out), but that is a file")
    out.mkdir(parents=True, exist_ok=True)
    report = read_report(out / REPORT)
    if not has_rows(out) and (report is None or report.settings.get("strategy") == "swap"):
        return None  # a run that found no pair stands in nobody's way
    earlier = report.settings if report else {}
    if changed := [name for name in {**settings, **earlier} if settings.get(name) != earlier.get(name)]:
        raise InvalidInputError(
            f"{out} holds pairs of another run (with other {', '.join(changed)}): give another output directory"
        )
    if report is not None and report.status is RunStatus.COMPLETE:
        return report
    drop_rows(out, 0)
    return None


def _new_report(settings: dict[str, Any], num_wanted: int) -> RunReport:
    return RunReport(
        status=RunStatus.RUNNING,
        num_wanted=num_wanted,
        num_pairs=0,
        failures={},
        retries={},
        spending=Spending(),
        wall_seconds=0.0,
        endpoints={},
        settings=settings,
        versions=versions(),
    )


def _maker(config: SwapConfig, transcripts: Sequence[Transcript]) -> SwapMaker:
    """Match the turns of conversations."""
    table = TurnTable.of(transcripts, Schedule.parse(config.schedule), config.seed)
    return SwapMaker(
        transcripts=transcripts,
        table=table,
        matches=match_turns(table, config),
        run_seed=config.seed,
        gates=default_gates(RefusalRule(config.refusals)) if config.gates else (),
    )


async def _write(maker: SwapMaker, out: Path, shard_size: int, advance: Callable[[int], None]) -> Counter[str]:
    """Make and write all pairs; return the number of failures by reason."""
    failures = FailureLog(out / FAILURES)
    failures.start_over()
    table, failed = PairTable(out, shard_size, ()), list[FailedPair]()
    for index in range(len(maker.transcripts)):
        outcome = await maker.run(index)
        if isinstance(outcome, FailedPair):
            failed.append(outcome)
        table.add(index, outcome if isinstance(outcome, ContrastivePair) else None)
        advance(1)
    table.flush()
    failures.append(failed)
    return failures.reasons
