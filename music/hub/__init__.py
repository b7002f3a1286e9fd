"""The Hugging Face hub: cards of what a command writes, and `music push`.

`card` writes the `README.md` of a folder; the trainer and the simulation say what is in it. `upload` chooses the files
of a folder that others need, and uploads them.
"""
