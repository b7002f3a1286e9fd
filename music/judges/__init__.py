"""Judges: language models that compare or rate conversations, and how far they can be trusted.

- `settings` how a judge is asked and what it may cost. - `model` asks: kept in a journal, within a budget, so many at
  a time, failures counted. - `judgement` one answer, or why there is none.
- `pairwise` two conversations in both orders. - `pointwise` one conversation on a scale. What is asked is a template
  of `music.prompts`.
- `reliability` position bias, agreement with itself, cyclic triples; `report` all that is to be said of a judge.
- `by_item`, `items` scores of a benchmark's items; `cli` names and flags. - `gathering` many at once.
"""
