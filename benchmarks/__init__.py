"""Speed and memory, each figure paired with its baseline in one run."""
