"""The Hugging Face hub: `music push`.

`upload` chooses the files of a folder that others need, and uploads them.
"""
