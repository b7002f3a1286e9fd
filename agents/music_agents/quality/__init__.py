"""Quality: gates decide which pairs are kept; diagnostics describe the kept set.

- `gates`: the protocol of gates, and the default gates, which use `texts`. `judge`: the gate of a judge.
- `diagnostics`: of a whole set, from the counts of `survey` and from `word_classifier`.
- `saved`: reads the pairs of a run.
"""

from music_agents.quality.diagnostics import PairDiagnostics, diagnose_pairs
from music_agents.quality.gates import (
    PASSED,
    FormatGate,
    GateVerdict,
    GateView,
    LeakGate,
    LengthGate,
    PairGate,
    RefusalGate,
    RefusalRule,
    default_gates,
    simulated_replies,
)
from music_agents.quality.judge import JudgeFigures, JudgeGate, ModelJudge, OracleJudge, PairJudge
from music_agents.quality.saved import read_saved_pairs

__all__ = ["PASSED", "GateVerdict", "GateView", "PairGate", "simulated_replies"]
__all__ += ["FormatGate", "LeakGate", "LengthGate", "RefusalGate", "RefusalRule", "default_gates"]
__all__ += ["JudgeFigures", "JudgeGate", "ModelJudge", "OracleJudge", "PairJudge"]
__all__ += ["PairDiagnostics", "diagnose_pairs", "read_saved_pairs"]
