"""The fit against scikit-learn, and the choice of a ridge."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from music.errors import InvalidInputError
from music_trainers.frozen import Comparisons, choose_ridge, fit_head, fit_heads
from music_trainers.frozen.head import RIDGES

NUM_PAIRS, NUM_FEATURES = 300, 12
TRUE = np.linspace(-1, 1, NUM_FEATURES)


@pytest.fixture(scope="module")
def features():
    """Return features of very different sizes, where the chosen side wins as often as Bradley-Terry says."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, NUM_PAIRS, NUM_FEATURES))
    wins = rng.random(NUM_PAIRS) < 1 / (1 + np.exp((right - left) @ TRUE))
    sizes = 10.0 ** rng.integers(-2, 3, NUM_FEATURES)
    chosen, rejected = (np.where(wins[:, None], *sides) for sides in ((left, right), (right, left)))
    return chosen * sizes, rejected * sizes


def reference(chosen, rejected, weights, ridge):
    """Fit scikit-learn's logistic regression to both signs of the scaled differences, without intercept."""
    differences = chosen - rejected
    scale = np.sqrt(np.average(differences**2, axis=0, weights=weights))
    both = np.concatenate([differences, -differences]) / scale
    labels = np.repeat([1, 0], len(differences))
    shares = np.tile(weights / weights.sum(), 2) / 2
    model = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-10, max_iter=10_000)
    return model.fit(both, labels, sample_weight=shares).coef_[0] / scale


@pytest.mark.parametrize("ridge", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("has_weights", [False, True])
def test_equals_logistic_regression_without_intercept(features, ridge, has_weights):
    weights = np.random.default_rng(1).integers(1, 4, NUM_PAIRS).astype(float) if has_weights else np.ones(NUM_PAIRS)
    fit = fit_head(*features, weights if has_weights else None, ridge=ridge)
    np.testing.assert_allclose(fit.weight, reference(*features, weights, ridge), rtol=1e-4)


def test_a_weight_of_two_equals_the_pair_twice(features):
    chosen, rejected = features
    weights = np.where(np.arange(NUM_PAIRS) < 100, 2.0, 1.0)
    twice = fit_head(np.vstack([chosen, chosen[:100]]), np.vstack([rejected, rejected[:100]]), ridge=0.01)
    np.testing.assert_allclose(fit_head(*features, weights, ridge=0.01).weight, twice.weight, rtol=1e-5)


def test_margins_and_smoothing_minimise_the_loss_of_the_trainer(features):
    """At the head that is found, the gradient of the trainer's own loss is that of the penalty."""
    import torch

    from music_trainers.reward.losses import bradley_terry_losses

    chosen, rejected = features
    scale = np.sqrt(((chosen - rejected) ** 2).mean(0))
    margins = np.random.default_rng(2).random(NUM_PAIRS)
    fit = fit_head(*features, ridge=0.05, margins=margins, label_smoothing=0.1)
    weight = torch.tensor(fit.weight * scale, requires_grad=True)
    sides = (torch.from_numpy(side / scale) @ weight for side in features)
    losses = bradley_terry_losses(*sides, torch.from_numpy(margins).float(), 0.1)
    (losses.mean() + 0.05 / 2 * weight @ weight).backward()
    assert weight.grad.abs().max() < 1e-6


def test_the_size_of_features_does_not_matter(features):
    plain = fit_head(*features, ridge=0.01).weight
    larger = fit_head(*(1000 * side for side in features), ridge=0.01).weight
    np.testing.assert_allclose(1000 * larger, plain, rtol=1e-4)


def test_a_path_of_ridges_gives_the_heads_of_single_fits(features):
    comparisons = Comparisons.of(features[0] - features[1], None, None)
    for fit in fit_heads(comparisons, RIDGES):
        np.testing.assert_allclose(fit.weight, fit_head(*features, ridge=fit.ridge).weight, rtol=1e-3)


def test_a_feature_that_never_differs_gets_no_weight(features):
    chosen, rejected = (np.hstack([side, np.ones((NUM_PAIRS, 1))]) for side in features)
    assert fit_head(chosen, rejected, ridge=0.01).weight[-1] == 0


def test_noise_is_shrunk_and_signal_is_not(features):
    rng = np.random.default_rng(3)
    prompts = [str(i // 2) for i in range(NUM_PAIRS)]
    signal, _ = choose_ridge(Comparisons.of(features[0] - features[1], None, None), prompts)
    noise, trials = choose_ridge(Comparisons.of(rng.normal(size=(NUM_PAIRS, 200)), None, None), prompts)
    assert signal < 0.1 < 1 <= noise
    assert noise == min(trials, key=lambda trial: trial.nll).ridge
    assert tuple(trial.ridge for trial in trials) == RIDGES


def test_a_ridge_is_measured_on_prompts_that_were_not_fitted(features, monkeypatch):
    """The NLL is that of scikit-learn's fits to the other prompts, and each pair is measured once."""
    differences = features[0] - features[1]
    prompts = np.array([str(i % 33) for i in range(NUM_PAIRS)])
    taken = []
    take = Comparisons.take

    def spy(self, rows):
        taken.append(rows)
        return take(self, rows)

    monkeypatch.setattr(Comparisons, "take", spy)
    weights = np.random.default_rng(1).integers(1, 4, NUM_PAIRS).astype(float)
    ridge, trials = choose_ridge(Comparisons.of(differences, weights, None), prompts.tolist())
    losses = np.zeros(NUM_PAIRS)
    for test, train in zip(taken[::2], taken[1::2], strict=True):
        assert set(prompts[test]).isdisjoint(prompts[train])
        assert 6 <= len(set(prompts[test])) <= 7
        head = reference(features[0][train], features[1][train], weights[train], ridge)
        losses[test] += np.logaddexp(0, -differences[test] @ head)
    assert sorted(np.concatenate(taken[::2])) == list(range(NUM_PAIRS))
    found = next(trial.nll for trial in trials if trial.ridge == ridge)
    assert found == pytest.approx(np.average(losses, weights=weights), rel=1e-5)


def test_bad_input_is_refused(features):
    chosen, rejected = features
    with pytest.raises(InvalidInputError, match=r"shape \[pairs, features\]"):
        fit_head(chosen, rejected[:5], ridge=1.0)
    with pytest.raises(InvalidInputError, match="one weight and one margin"):
        fit_head(chosen, rejected, [1.0], ridge=1.0)
    with pytest.raises(InvalidInputError, match="one is positive"):
        fit_head(chosen, rejected, np.zeros(NUM_PAIRS), ridge=1.0)
    with pytest.raises(InvalidInputError, match="finite numbers"):
        fit_head(chosen * np.nan, rejected, ridge=1.0)
    with pytest.raises(InvalidInputError, match="ridge > 0"):
        fit_head(chosen, rejected, ridge=0.0)
    with pytest.raises(InvalidInputError, match="at least 2 different prompts"):
        choose_ridge(Comparisons.of(chosen - rejected, None, None), ["same"] * NUM_PAIRS)
