import pytest
import torch

from music_trainers.precision.rounding import join_master, round_stochastically, seed_of, split_master


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def values():
    """All magnitudes, both signs."""
    torch.manual_seed(0)
    return torch.randn(1000) * torch.logspace(-30, 30, 1000)


def neighbours(values):
    """Return the bf16 numbers next to each value, towards zero and away from it."""
    upper = (values.view(torch.int32) >> 16).to(torch.int16)
    return upper.view(torch.bfloat16), (upper + 1).view(torch.bfloat16)


def test_rounding_gives_a_neighbour_and_is_right_in_the_mean(values, generator):
    toward, away = (side.double() for side in neighbours(values))
    num_draws = 2000
    draws = torch.stack([round_stochastically(values, generator).double() for _ in range(num_draws)])
    assert ((draws == toward) | (draws == away)).all()
    # The mean of Bernoulli draws over a gap of 1 has a standard deviation of at most 0.5 / sqrt(n).
    error = (draws.mean(0) - values.double()) / (away - toward)
    assert error.abs().max() < 5 * 0.5 / num_draws**0.5
    assert error.mean().abs() < 5 * 0.5 / (num_draws * len(values)) ** 0.5


def test_what_bf16_holds_stays(values, generator):
    exact = torch.cat([values.bfloat16().float(), torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0**-133])])
    for _ in range(20):
        assert torch.equal(round_stochastically(exact, generator).float(), exact)


def test_a_split_master_is_the_fp32_number(values):
    halfway = torch.tensor([1 + 2**-8, -1 - 2**-8, 0.0, -0.0, 3.4e38, -3.4e38, 1e-40])
    master = torch.cat([values, halfway])
    rounded, remainder = split_master(master)
    assert (rounded.dtype, remainder.dtype) == (torch.bfloat16, torch.int16)
    assert torch.equal(join_master(rounded, remainder).view(torch.int32), master.view(torch.int32))


def test_a_split_master_shows_the_nearest_bf16(values):
    rounded, _ = split_master(values)
    assert torch.equal(rounded, values.bfloat16())


def test_noise_follows_from_its_key():
    def draw(*key):
        generator = torch.Generator().manual_seed(5)
        generator.manual_seed(seed_of(*key))
        return torch.rand(8, generator=generator)

    assert torch.equal(draw(1, 2, 3), draw(1, 2, 3))
    keys = [(1, 2, 3), (1, 3, 2), (2, 2, 3), (-1, 2, 3)]
    assert len({tuple(draw(*key).tolist()) for key in keys}) == len(keys)
