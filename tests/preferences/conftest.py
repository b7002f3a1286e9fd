import gzip
import json

import pytest


def messages(*texts):
    """Return messages of these texts, the user's first."""
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


@pytest.fixture
def write_jsonl(tmp_path):
    """Write rows (dicts, or raw text for a line) as JSON lines."""

    def write(rows, name="rows.jsonl"):
        path = tmp_path / name
        text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


@pytest.fixture
def side():
    return messages
