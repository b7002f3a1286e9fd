"""Quality: which pairs are kept, and what the kept set looks like.

- `gates`: what a gate is; `text_gates`: the default ones, over what `texts` finds; `judge`: the optional one.
- `diagnosing`: `diagnostics` of a whole set, from what `survey` counts and `tells` learns, with `warnings`.
- `saved`: a run's pairs.
"""

from music_agents.quality.diagnosing import diagnose
from music_agents.quality.diagnostics import Diagnostics
from music_agents.quality.gates import PASSED, GateVerdict, GateView, PairGate, simulated_replies
from music_agents.quality.judge import JudgeFigures, JudgeGate, Judgement, ModelJudge, OracleJudge, PairJudge
from music_agents.quality.saved import read_saved_pairs
from music_agents.quality.text_gates import (
    FormatGate,
    LeakGate,
    LengthGate,
    RefusalGate,
    RefusalRule,
    default_gates,
)

__all__ = ["PASSED", "GateVerdict", "GateView", "PairGate", "simulated_replies"]
__all__ += ["FormatGate", "LeakGate", "LengthGate", "RefusalGate", "RefusalRule", "default_gates"]
__all__ += ["JudgeFigures", "JudgeGate", "Judgement", "ModelJudge", "OracleJudge", "PairJudge"]
__all__ += ["Diagnostics", "diagnose", "read_saved_pairs"]
