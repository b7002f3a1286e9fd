"""A fifth of all requests goes wrong, in seven ways."""

import pytest

from music.sandbox.server import ServerConfig, sandbox_server

NUM_PAIRS = 100
FAULTS = ("error", "reset", "hang", "truncate", "invalid_json", "no_choices", "wrong_types")
REASONS = {"endpoint_unavailable", "endpoint_timeout", "malformed_reply"}
CLIENT = {"timeout": 1.0, "max_tries": 2, "backoff": 0.05}
"""Few tries, so that some pairs fail."""


@pytest.fixture(scope="module")
def sound_url():
    with sandbox_server() as url:
        yield url


@pytest.fixture(scope="module")
def faulty_url():
    faults = ",".join(f"{fault}={0.2 / len(FAULTS)}" for fault in FAULTS)
    with sandbox_server(ServerConfig(faults=faults)) as url:
        yield url


async def test_every_pair_is_whole_or_listed_and_what_failed_can_be_made_good(
    sound_url, faulty_url, make_run, stats, tmp_path
):
    sound = make_run(tmp_path / "sound", f"m@{sound_url}", num_pairs=NUM_PAIRS)
    assert set((await sound.go()).failures) <= {"identical_sides"}

    run = make_run(tmp_path / "run", f"m@{faulty_url}", **CLIENT, num_pairs=NUM_PAIRS)
    report = await run.go()
    assert set(stats(faulty_url)["by_fault"]) == set(FAULTS)
    assert (report.status, report.num_pairs) == ("complete", NUM_PAIRS)
    run.assert_whole()
    rows, failures = run.rows, run.failures
    assert len(rows) == NUM_PAIRS
    assert {failure["reason"] for failure in failures} - {"identical_sides"} == REASONS
    assert sum(report.failures.values()) == len(failures)
    in_both = rows.keys() & sound.rows.keys()
    assert len(in_both) > NUM_PAIRS / 2
    assert all(rows[id_] == sound.rows[id_] for id_ in in_both)

    num_asked = stats(sound_url)["requests"]
    again = make_run(run.directory, f"m@{sound_url}", num_pairs=NUM_PAIRS)
    await again.go(retry_failed=True)
    assert again.table.equals(sound.table)
    assert again.failures == sound.failures
    # Failed pairs are taken up where they failed; whole ones are not asked for again.
    assert stats(sound_url)["requests"] - num_asked <= 8 * len(failures)
