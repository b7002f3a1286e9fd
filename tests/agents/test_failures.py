"""One remedy for a reason, in every message that names one."""

import pytest

from music_agents.failures import FailedPair, FailureReason, advise, remedy
from music_agents.model_check import Measure, ModelCheck
from music_agents.stall_detection import SimulationStalledError

REASONS = [reason for reason in FailureReason if reason is not FailureReason.INTERRUPTED]


@pytest.mark.parametrize("reason", REASONS)
def test_a_stall_and_a_check_name_the_same_remedy(reason):
    assert remedy(reason)
    failure = FailedPair(index=0, id="a", seed_id="b", reason=reason, detail="so it was")
    told = str(SimulationStalledError.after([failure], 1))
    assert told == f"the last 1 pairs all failed, 1 of them by {reason} (so it was). {advise(reason)}"
    assert remedy(reason)[1:] in told
    measure = Measure(num_asked=10, num_fit=0, unfit={reason: 10})
    found = ModelCheck.model_construct(roles={"user": measure}, contrasts={}, share_kept=0.0, notes={})
    assert found.advice() == [f"user: {remedy(reason)}"]


def test_every_remedy_ends_a_sentence_that_tells_to_run_again():
    assert all(advise(reason).endswith(". Then run again") for reason in FailureReason)
    assert advise(FailureReason.INTERRUPTED) == "Fix the cause. Then run again"
