"""`music init`: a commented config of `music simulate` and a seed file, to begin with.

`simulate.toml` and `seeds.jsonl` beside this file are what it writes, unchanged.
"""
