"""The readout that one half of the prompts chooses is tested on the other half."""

import random

import numpy as np
import pytest

from music.statistics import crossed_difference
from music_trainers.experiment.readouts import is_development

ARMS = {"music": {"pairs": {"base": 5}}}
PROMPTS = [f"prompt {item // 2}" for item in range(40)]


def noise(seed, readout, shift=0.0):
    rng = random.Random(f"{seed}/{readout}")
    return [shift + rng.gauss(0.0, 1.0) for _ in PROMPTS]


def of(result, measure):
    return next(each for each in result.readouts if each.measure == measure)


@pytest.mark.parametrize("num", [2, 3, 20, 501])
def test_the_development_half_is_half_of_the_prompts(num):
    prompts = [str(index) for index in range(num)] * 2
    chosen = is_development(prompts)
    assert chosen.sum() == 2 * (num // 2)
    assert (chosen[:num] == chosen[num:]).all()
    assert (is_development(prompts[::-1]) == chosen[::-1]).all()


def test_a_single_prompt_cannot_be_divided():
    assert not is_development(["one", "one"]).any()


def test_the_readout_is_chosen_on_one_half_and_tested_on_the_other(analysed):
    development = is_development(PROMPTS)
    # `turn_mean` wins on the development half alone, `turn_min` on the confirmation half alone.
    gains = {"turn_mean": 3.0 * development, "turn_min": 9.0 * ~development}

    def values(arm, seed, measure, readout):
        if measure != "Best-of-8":
            return [1.0, 0.0] * 20
        return list(np.array(noise(seed, readout)) + gains.get(readout, 0.0))

    choice = of(analysed(ARMS, values), "Best-of-8")
    tables = {r: np.array([values("music", seed, "Best-of-8", r) for seed in (0, 1, 2)]) for r in choice.development}
    expected = crossed_difference(
        tables["turn_mean"][:, ~development],
        tables["last"][:, ~development],
        clusters=[prompt for prompt, first in zip(PROMPTS, development, strict=True) if not first],
    )
    assert choice.chosen == "turn_mean"
    assert choice.development == pytest.approx({r: t[:, development].mean() for r, t in tables.items()})
    assert (choice.estimate, choice.p_value) == (expected.estimate, expected.p_value)
    gains_by_seed = (tables["turn_mean"] - tables["last"])[:, ~development].mean(axis=1)
    assert choice.by_seed == pytest.approx(gains_by_seed)


def test_last_is_not_tested_against_itself(analysed):
    def values(arm, seed, measure, readout):
        return [0.9 if readout == "last" else 0.1] * 40

    assert {(each.chosen, each.estimate, each.p_value) for each in analysed(ARMS, values).readouts} == {
        ("last", None, None)
    }


def test_of_equal_readouts_last_is_chosen(analysed):
    assert {each.chosen for each in analysed(ARMS, lambda *_: [1.0, 0.0] * 20).readouts} == {"last"}


def test_a_choice_made_from_noise_is_not_flattered(analysed):
    """Over many draws, the best of four equal readouts gains nothing on the other half, and much on its own."""
    on_own, on_other = [], []
    for draw in range(60):
        choice = of(
            analysed(ARMS, lambda a, s, m, r, d=draw: noise((d, s), r) if m == "Best-of-8" else [0.5] * 40), "Best-of-8"
        )
        if choice.estimate:
            on_own.append(choice.development[choice.chosen] - choice.development["last"])
            on_other.append(choice.estimate.value)
    assert np.mean(on_own) > 0.1
    assert abs(np.mean(on_other)) < 3 * np.std(on_other) / len(on_other) ** 0.5


def test_only_compared_measures_that_the_readout_changes_are_there(analysed):
    result = analysed(ARMS, lambda *_: [1.0, 0.0] * 20)
    assert [each.measure for each in result.readouts] == ["relevance, early", "Best-of-8"]
