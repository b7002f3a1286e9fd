"""Write the prompts of a verl run as the parquet file that its data set reads.

Run it: python examples/verl/prompts.py runs/verl/prompts.parquet [SOURCE]

SOURCE is any file, folder or hub id that `music` reads; without it, the prompts are the sandbox's.
"""

import sys
from pathlib import Path

from datasets import Dataset

from music_envs import load_prompts


def write_prompts(path: Path, source: str = "sandbox") -> None:
    """Write one row per prompt of a source."""
    seeds = load_prompts(source)
    rows = [
        {
            "data_source": source,
            "prompt": seed.to_messages(),
            "reward_model": {"style": "model", "ground_truth": ""},
            "extra_info": {"index": index},
        }
        for index, seed in enumerate(seeds)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(path)


if __name__ == "__main__":
    out, *source = sys.argv[1:]
    write_prompts(Path(out), *source)
