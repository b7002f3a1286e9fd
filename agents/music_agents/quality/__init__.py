"""Quality: which pairs are kept, and what the kept set looks like.

- `gates`: what a gate is, and the default ones, over what `texts` finds. `judge`: the optional one.
- `diagnostics`: of a whole set, from what `survey` counts and `word_classifier` learns.
- `saved`: a run's pairs.
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
