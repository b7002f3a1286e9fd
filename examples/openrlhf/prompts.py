"""Write the prompts of an OpenRLHF run. The label holds the messages, because OpenRLHF passes only rendered text.

Run it: python examples/openrlhf/prompts.py runs/openrlhf/prompts.jsonl [SOURCE]

SOURCE is any file, folder or hub id that `music` reads; without it, the prompts are the sandbox's.
"""

import json
import sys
from pathlib import Path

from music_envs import load_prompts


def write_prompts(path: Path, source: str = "sandbox") -> None:
    """Write one row per prompt of a source."""
    seeds = [seed.to_messages() for seed in load_prompts(source)]
    rows = [json.dumps({"messages": messages, "label": json.dumps(messages)}) for messages in seeds]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    out, *source = sys.argv[1:]
    write_prompts(Path(out), *source)
