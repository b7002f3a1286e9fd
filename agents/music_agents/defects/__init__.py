"""Defects: pairs for `music evaluate defects` from any multi-turn conversations, by a contrast at one turn.

- `swaps`: conversations and their turns, by index; `run`: one pair, and many on disk; `cli`: `music defects`.
"""
