"""The prompts through which a model plays a role, and their inverse.

Rendering and reading stand side by side because both ends of the wire use them: the agents render a role's prompt,
and the sandbox, which plays every role, reads the same prompt back. No prompt uses the system role, and roles always
alternate beginning with "user", so that templates as strict as Gemma's take them.
"""

from music.prompts.contrast import (
    CONTRAST_PROMPTS,
    contrast_frame,
    load_contrast_template,
    render_contrast,
    render_rewrite,
)
from music.prompts.contrast_reply import (
    contrast_schema,
    read_contrast,
    read_rewrite,
    render_contrast_reply,
    render_rewrite_reply,
)
from music.prompts.dialogue import USER_PROMPT, load_user_template, render_assistant, render_user
from music.prompts.judge import Choice, parse_judgement, render_judge, render_judgement
from music.prompts.judge_template import load_template, template_names
from music.prompts.part_names import ReplyFormatError
from music.prompts.parts import ContrastFormat, ContrastStrategy, Part, RolePrompt
from music.prompts.rating import HIGHEST, LOWEST, parse_rating, render_rate, render_rating
from music.prompts.reading import read_prompt
from music.prompts.template import PromptTemplate

__all__ = ["CONTRAST_PROMPTS", "HIGHEST", "LOWEST", "USER_PROMPT"]
__all__ += ["Choice", "ContrastFormat", "ContrastStrategy", "Part", "PromptTemplate", "ReplyFormatError", "RolePrompt"]
__all__ += [
    "contrast_frame",
    "contrast_schema",
    "load_contrast_template",
    "load_template",
    "load_user_template",
    "parse_judgement",
    "parse_rating",
    "read_contrast",
    "read_prompt",
    "read_rewrite",
    "render_assistant",
    "render_contrast",
    "render_contrast_reply",
    "render_judge",
    "render_judgement",
    "render_rate",
    "render_rating",
    "render_rewrite",
    "render_rewrite_reply",
    "render_user",
    "template_names",
]
