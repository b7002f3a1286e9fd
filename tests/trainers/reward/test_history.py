from music.reward.tokens.contract import RewardStatistics
from music_trainers.reward.history import History
from music_trainers.reward.records import Evaluation, HeldOutMetrics


def evaluation(step, nll):
    metrics = HeldOutMetrics(num_pairs=5, accuracy=0.5, nll=nll, mean_margin=0.0)
    return Evaluation(step=step, metrics=metrics, rewards=RewardStatistics(mean=0.0, std=1.0, num_conversations=10))


def test_the_best_evaluation_is_the_first_with_the_lowest_loss():
    history = History(evaluations=[evaluation(s, nll) for s, nll in ((1, 0.7), (2, 0.4), (3, 0.5), (4, 0.4))])
    assert history.best.step == 2
    assert history.num_stale == 2
    assert (History().best, History().num_stale) == (None, 0)


def test_only_several_high_losses_in_a_row_mean_divergence():
    calm = [0.6] * 50
    assert not History([*calm, 9.0, 9.0, 9.0, 9.0, 0.6, 9.0]).has_diverged
    assert History([*calm, 9.0, 9.0, 9.0, 9.0, 9.0]).has_diverged
    assert History([*calm, 9.0, 9.0]).num_suspicious == 2
    assert not History([0.7] * 10 + [9.0] * 5).has_diverged, "too few losses to compare with"
    assert not History([0.01] * 50 + [0.5] * 5).has_diverged, "still better than a model that knows nothing"


def test_a_history_comes_back_as_it_was():
    history = History([0.5, 0.4], [evaluation(1, 0.3)], 17)
    assert History.from_state(history.state()) == history
