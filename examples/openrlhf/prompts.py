"""Write the prompts of an OpenRLHF run. The label holds the messages, because OpenRLHF passes only rendered text.

Run it: python examples/openrlhf/prompts.py runs/openrlhf/prompts.jsonl
"""

import json
import sys
from pathlib import Path

from music_envs import load_prompts


def write_prompts(path: Path, source: str = "sandbox", num_prompts: int = 64) -> None:
    """Write one row per prompt; `source` may be a file of your own conversations."""
    seeds = [seed.to_messages() for seed in load_prompts(source, num_prompts)]
    rows = [json.dumps({"messages": messages, "label": json.dumps(messages)}) for messages in seeds]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_prompts(Path(sys.argv[1]))
