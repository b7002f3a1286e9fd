import math
import os

from music_trainers.experiment.process_pool import Failure, run_in_processes


def test_one_that_fails_and_one_that_dies_take_nobody_along():
    work = {
        "dies": (os._exit, (7,)),
        "fails": (math.sqrt, (-1.0,)),
        **{number: (math.sqrt, (float(number),)) for number in (1, 4, 9)},
    }
    outcomes = dict(run_in_processes(work, 2))
    assert {key: outcomes[key] for key in (1, 4, 9)} == {1: 1.0, 4: 2.0, 9: 3.0}
    assert outcomes["dies"] == Failure("its process died; out of memory?")
    assert outcomes["fails"].error == "ValueError: math domain error"
    assert "Traceback" in outcomes["fails"].details


def test_no_work_is_no_result():
    assert dict(run_in_processes({}, 2)) == {}
