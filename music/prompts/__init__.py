"""The prompts with which a model plays a role, and functions that read them back.

The agents render a role's prompt; the sandbox, which plays every role, reads the same prompt back. No prompt uses the
system role, and roles alternate beginning with "user", so that strict chat templates such as Gemma's accept them.
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
from music.prompts.judge import (
    HIGHEST,
    LOWEST,
    Choice,
    load_template,
    parse_judgement,
    parse_rating,
    render_judge,
    render_judgement,
    render_rate,
    render_rating,
    template_names,
)
from music.prompts.kinds import ContrastFormat, ContrastStrategy, PromptKind
from music.prompts.reading import RolePrompt, read_prompt
from music.prompts.reply_parts import ReplyFormatError
from music.prompts.template import PromptTemplate

__all__ = ["CONTRAST_PROMPTS", "HIGHEST", "LOWEST", "USER_PROMPT"]
__all__ += [
    "Choice",
    "ContrastFormat",
    "ContrastStrategy",
    "PromptKind",
    "PromptTemplate",
    "ReplyFormatError",
    "RolePrompt",
]
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
