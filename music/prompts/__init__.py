"""The prompts through which a model plays a role, and their inverse.

Rendering and reading stand side by side because both ends of the wire use them: the agents render a role's prompt,
and the sandbox, which plays every role, reads the same prompt back. No prompt uses the system role, and roles always
alternate beginning with "user", so that templates as strict as Gemma's take them.
"""

from music.prompts.contrast import (
    CONTRAST_PROMPTS,
    parse_contrast,
    parse_rewrite,
    render_contrast,
    render_contrast_reply,
    render_rewrite,
    render_rewrite_reply,
)
from music.prompts.dialogue import USER_PROMPT, render_assistant, render_user
from music.prompts.judge import JUDGE_PROMPT, Choice, parse_judgement, render_judge, render_judgement
from music.prompts.parts import ContrastStrategy, Part, RolePrompt
from music.prompts.reading import read_prompt

__all__ = ["CONTRAST_PROMPTS", "JUDGE_PROMPT", "USER_PROMPT"]
__all__ += ["Choice", "ContrastStrategy", "Part", "RolePrompt"]
__all__ += [
    "parse_contrast",
    "parse_judgement",
    "parse_rewrite",
    "read_prompt",
    "render_assistant",
    "render_contrast",
    "render_contrast_reply",
    "render_judge",
    "render_judgement",
    "render_rewrite",
    "render_rewrite_reply",
    "render_user",
]
