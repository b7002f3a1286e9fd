import pytest
import torch

from music_trainers.precision.policy import BLOCK_SIZE
from music_trainers.precision.rounding import (
    MEAN_CODE,
    SQUARE_CODE,
    join_master,
    round_stochastically,
    seed_of,
    split_master,
)


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


def moments(code, rows=4, columns=2 * BLOCK_SIZE):
    torch.manual_seed(0)
    gradients = torch.randn(rows, columns) * torch.randn(rows, columns).exp()
    return gradients if code is MEAN_CODE else gradients.square()


def gaps(code, values):
    """Return the distance between the two numbers around each value that have a code."""
    largest = values.abs().reshape(4, -1, BLOCK_SIZE).amax(-1).repeat_interleave(BLOCK_SIZE, -1)
    power = 2**code.squarings
    below = (code.levels * (values.abs() / largest).double() ** (1 / power)).floor()
    return largest * (((below + 1) / code.levels) ** power - (below / code.levels) ** power)


@pytest.mark.parametrize("code", [MEAN_CODE, SQUARE_CODE], ids=["mean", "square"])
def test_decoding_is_a_neighbour_and_right_in_the_mean(code, generator):
    values, num_draws = moments(code), 500
    draws = torch.stack([code.decode(*code.encode(values, generator)) for _ in range(num_draws)]).double()
    errors = (draws - values) / gaps(code, values)
    assert errors.abs().max() < 1.001
    assert errors.mean(0).abs().max() < 5 * 0.5 / num_draws**0.5
    assert errors.mean().abs() < 5 * 0.5 / errors.numel() ** 0.5


@pytest.mark.parametrize("code", [MEAN_CODE, SQUARE_CODE], ids=["mean", "square"])
def test_the_largest_of_a_block_is_exact(code, generator):
    values = moments(code)
    decoded = code.decode(*code.encode(values, generator))
    largest = values.abs().reshape(4, -1, BLOCK_SIZE).amax(-1)
    assert torch.equal(decoded.abs().reshape(4, -1, BLOCK_SIZE).amax(-1), largest)


@pytest.mark.parametrize("code", [MEAN_CODE, SQUARE_CODE], ids=["mean", "square"])
def test_rows_of_any_width(code, generator):
    for columns in (1, 7, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE - 5):
        values = moments(code, columns=columns)
        codes, scales = code.encode(values, generator)
        assert (codes.shape, codes.dtype) == (values.shape, code.dtype)
        assert scales.shape == (4, -(-columns // BLOCK_SIZE))
        assert (code.decode(codes, scales) - values).norm() < 0.1 * values.norm()


@pytest.mark.parametrize("code", [MEAN_CODE, SQUARE_CODE], ids=["mean", "square"])
def test_zeros_stay_zeros(code, generator):
    values = torch.zeros(2, BLOCK_SIZE)
    values[0, 3] = 1.0
    assert torch.equal(code.decode(*code.encode(values, generator)), values)


def test_a_small_gradient_is_no_large_update(generator):
    """Of 1, as all are before the rounding, a few become 5; with a square that is rounded to 0 they would be 1e5."""
    gradients = torch.logspace(-18, 0, BLOCK_SIZE)[None]
    for _ in range(300):
        mean = MEAN_CODE.decode(*MEAN_CODE.encode(gradients, generator))
        square = SQUARE_CODE.decode(*SQUARE_CODE.encode(gradients.square(), generator))
        assert (mean / square.sqrt()).max() < 8
