"""`RenderedTextParser`: rebuilds the messages of a conversation from the text that a chat template rendered.

Some software sends text instead of messages: OpenRLHF's remote reward calls, and the clients of vLLM's and SGLang's
classification. The parser learns what the template writes around messages, splits a text there, renders the result
again, and refuses the text unless it comes back exactly.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from music.chat_template import BUILT_IN, choose_template, template_text
from music.conversation import Conversation, Role, find_out_of_order
from music.errors import InvalidInputError
from music.names import find_model
from music.reward.tokens.delimiters import Delimiters, shared_start
from music.reward.tokens.fixed_date import with_fixed_date
from music.reward.tokens.template import template_texts

__all__ = ["RenderedTextError", "RenderedTextParser"]

_DATE = "\ue000today\ue000"
"""What templates write in place of today's date, until the date of a text is known; no other text contains it."""
_EXCERPT = 40


class RenderedTextError(InvalidInputError):
    """A text is not a conversation as the chat template renders it, or could be several.

    Characters are counted from 0, with BOS if the template writes it.

    Example:
        >>> raise RenderedTextError("message 2 is blank")
        Traceback (most recent call last):
        music.reward.tokens.rendered.RenderedTextError: message 2 is blank
    """


class RenderedTextParser:
    r"""Rebuilds conversations from text that a chat template rendered.

    A text comes back exactly when its messages are rendered again, with these exceptions:

    - BOS may be missing at the start, or be there although the template writes none.
    - The tokens and newlines that close the last message may be missing, be cut, or be followed by EOS.
    - Today's date, if the template writes it, may be any date.

    A text that ends with a user's message, with or without a generation prompt, gives a conversation without a reply.
    A system message that the template writes by itself is no message of the conversation.

    No message may contain what begins a message of another role, so a text whose roles do not alternate is refused.
    Text alone cannot reveal that a reply contains a whole exchange in the template's own words: it is read as turns.
    A reply that begins a user's message in these words is read as a conversation that ends with the user.
    `music.reward.tokens.queries.read_query` knows where a reply begins if the prompt is sent along. A system message
    that the template writes into the user's without a mark, as Gemma's does, stays there. Tool calls and results are
    read as text of the messages in which the template writes them, or refused.

    Example:
        >>> parser = RenderedTextParser.load("Qwen/Qwen2.5-0.5B-Instruct")  # doctest: +SKIP
        >>> parser.parse("<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\nHello.")  # doctest: +SKIP
        Conversation(messages=(Message(role='user', content='Hi!', ...), Message(role='assistant', ...)))
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, **options: Any) -> None:
        """Learn a template.

        Args:
            tokenizer: It has the chat template and its special tokens.
            **options: Arguments of the chat template, such as `enable_thinking`.

        Raises:
            InvalidInputError: There is no template, or text cannot be split at what it writes around messages.
        """
        template = template_text(tokenizer, f"name one with --chat-template, a file or one of {', '.join(BUILT_IN)}")
        self.tokenizer = tokenizer
        self._options = options | {"chat_template": with_fixed_date(template, _DATE)}
        self._delimiters = Delimiters.learn(self._render)
        self._openers = self._delimiters.openers
        end, added = self._delimiters.end, tokenizer.get_added_vocab()
        self._blanks_before_end = end[: len(end) - len(end.lstrip())]
        closing = {tokenizer.eos_token or "", end.strip(), *(token for token in added if token in end)} - {""}
        self._closing = tuple(sorted(closing, key=len, reverse=True))

    @classmethod
    def load(cls, path_or_hub_id: str, chat_template: str | None = None, **options: Any) -> Self:
        """Load a tokenizer; a folder needs no weights.

        Args:
            path_or_hub_id: The tokenizer.
            chat_template: A file or a name (see `music.chat_template`) that replaces the tokenizer's own template.
            **options: Arguments of the chat template.

        Raises:
            InvalidInputError: There is no such tokenizer or template, or text cannot be split at what it writes.
        """
        path = path_or_hub_id
        if not (Path(path) / "tokenizer_config.json").is_file():
            path = find_model(path_or_hub_id, "language_model", BUILT_IN)
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
            why = " ".join(str(error).split()).partition(". ")[0][:200]
            raise InvalidInputError(f"{path_or_hub_id}: expected a tokenizer (save_pretrained), got: {why}") from error
        if chat_template is not None:
            tokenizer.chat_template = choose_template(tokenizer, chat_template)
        try:
            return cls(tokenizer, **options)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path_or_hub_id}: {error}") from error

    def parse(self, text: str) -> Conversation:
        """Return the conversation of a text.

        Raises:
            RenderedTextError: The text is not exactly what the template renders, or it could be several conversations.
        """
        text = self._with_bos_of_template(text)
        fault: RenderedTextError | None = None
        for date, messages in self._readings(text):
            try:
                conversation = self._conversation(messages)
                self._require_same(conversation, text, date)
                return conversation
            except RenderedTextError as error:
                fault = fault or error
        raise fault or _difference([self._delimiters.head, self._delimiters.system_head or ""], text)

    def parse_query(self, query: str) -> Conversation:
        """Return the conversation of a prompt, rendered with its generation prompt, and the reply that a policy gave.

        The reply is what follows the generation prompt, stripped. The template need not write it like that: it may
        strip thoughts, for example. A blank reply is left out.

        Raises:
            RenderedTextError: The prompt is not exactly what the template renders, or the text could be several
                conversations.
        """
        generation = self._delimiters.generation
        begin = query.find(generation, max(query.rfind(self._delimiters.next_user), 0))
        if begin < 0 or not generation:
            return self.parse(query)
        end = begin + len(generation)
        prompt, reply = self.parse(query[:end]), self.without_end(query[end:]).strip()
        messages = [(message.role, message.content) for message in prompt.messages]
        return self._conversation([*messages, ("assistant", reply)]) if reply else prompt

    def require(self, conversation: Conversation, text: str) -> None:
        """Check that a text is this conversation as the template renders it, with a generation prompt or without.

        Raises:
            RenderedTextError: It is not; the error shows where they differ.
        """
        text = self._with_bos_of_template(text)
        date = next((date for _, date, _ in self._starts(text)), "")
        self._require_same(conversation, text, date)

    def has_start(self, text: str) -> bool:
        """Whether a text begins as the template begins conversations, with or without BOS."""
        return any(self._starts(self._with_bos_of_template(text)))

    def without_end(self, text: str) -> str:
        """Return a text without the tokens at its end that close a message."""
        kept = self._end_of_content(text)
        blanks, is_closed = self._blanks_before_end, kept < len(text)
        return text[:kept].removesuffix(blanks) if is_closed or blanks == self._delimiters.end else text

    def _end_of_content(self, text: str) -> int:
        """Return where the tokens at a text's end that close a message begin, in linear time."""
        kept = end = len(text)
        while True:
            while end and text[end - 1].isspace():
                end -= 1
            token = next((each for each in self._closing if text.endswith(each, 0, end)), None)
            if token is None:
                return kept
            kept = end = end - len(token)

    def _render(self, conversation: Conversation, is_prompt: bool) -> str:
        return template_texts(self.tokenizer, [conversation], add_generation_prompt=is_prompt, **self._options)[0]

    def _with_bos_of_template(self, text: str) -> str:
        """Return a text with BOS at the start if the template writes it there, else without one."""
        bos = self.tokenizer.bos_token or ""
        return (bos if self._delimiters.head.startswith(bos) else "") + text.removeprefix(bos)

    def _starts(self, text: str) -> Iterator[tuple[str, str, bool]]:
        """Yield how the text can begin, the longest beginning first: up to the first message, date, is it the system's.

        The longest is right: a default system message begins like any other, and Llama 2 marks one inside the user's.
        """
        bos = self.tokenizer.bos_token
        if bos and text.removeprefix(bos if self._delimiters.head.startswith(bos) else "").startswith(bos):
            return  # A second BOS is part of no message.
        heads = [(self._delimiters.head, False), (self._delimiters.system_head, True)]
        for head, is_of_system in sorted(heads, key=lambda each: -len(each[0] or "")):
            before, found, after = map(re.escape, (head or "").partition(_DATE))
            date = re.match(before + (r"([^\n]{1,40}?)" if found else "()") + after, text)
            if date and head is not None:
                yield date[0], date[1], is_of_system

    def _readings(self, text: str) -> Iterator[tuple[str, list[tuple[Role, str]]]]:
        """Yield the messages into which the text can be split, the likeliest first, each with the text's date."""
        for head, date, is_of_system in self._starts(text):
            delimiters = self._delimiters.dated(_DATE, date)
            messages: list[tuple[Role, str]] = []
            rest = text[len(head) :]
            if is_of_system:
                system, _, rest = rest.partition(delimiters.after_system)
                messages.append(("system", system))
            *earlier, last = rest.split(delimiters.next_user)
            for exchange in earlier:
                plain = delimiters.earlier_reply
                opening = plain if plain in exchange else delimiters.reply_mark
                user, found, reply = exchange.partition(opening)
                messages += [("user", user), ("assistant", reply)] if found else [("user", user)]
            for ending in self._endings(last, delimiters):
                yield date, messages + ending

    def _endings(self, text: str, delimiters: Delimiters) -> Iterator[list[tuple[Role, str]]]:
        """Yield the messages into which the last exchange can be split."""
        generation = delimiters.generation.rstrip()
        is_prompt = bool(generation) and text.rstrip().endswith(generation)
        if is_prompt:
            yield [("user", text.rstrip().removesuffix(generation))]
        for opening in dict.fromkeys((delimiters.last_reply, delimiters.earlier_reply, delimiters.reply_mark)):
            user, found, reply = text.partition(opening)
            if found and not is_prompt:
                yield [("user", user), ("assistant", self.without_end(reply))]
        is_whole = text.endswith(delimiters.unanswered)
        yield [("user", text.removesuffix(delimiters.unanswered) if is_whole else self.without_end(text))]

    def _conversation(self, messages: list[tuple[Role, str]]) -> Conversation:
        """Return messages as a conversation, if their roles alternate and none contains the beginning of another."""
        if fault := find_out_of_order([role for role, _ in messages]):
            place, expected = fault
            raise RenderedTextError(f"expected roles that alternate, got no {expected} message as message {place + 1}")
        for place, (role, content) in enumerate(messages, 1):
            if not content.strip():
                raise RenderedTextError(f"expected text in message {place}, the {role}'s, got {content[:_EXCERPT]!r}")
            if opener := self._openers.search(content):
                raise RenderedTextError(
                    f"expected roles that alternate, got {opener[0][:_EXCERPT]!r}, which begins a message, inside "
                    f"message {place}, the {role}'s, at its character {opener.start()}"
                )
        return Conversation.from_messages({"role": role, "content": content} for role, content in messages)

    def _require_same(self, conversation: Conversation, text: str, date: str) -> None:
        """Check that the conversation is rendered as the text, or as a prompt if it ends with the user."""
        endings = (False,) if conversation.next_role == "user" else (True, False)
        try:
            rendered = [self._render(conversation, each).replace(_DATE, date) for each in endings]
        except TemplateError as error:
            raise RenderedTextError(f"the chat template refuses its messages: {error}") from error
        kept, *expected = (self.without_end(each) for each in (text, *rendered))
        if not (kept in expected if len(endings) == 1 else kept.rstrip() in (each.rstrip() for each in expected)):
            raise _difference(rendered, text)


def _difference(rendered: list[str], text: str) -> RenderedTextError:
    """Return an error that shows where a text first differs from the nearest of some renderings."""
    place, nearest = max((len(shared_start(each, text)), each) for each in rendered)
    end = place + _EXCERPT
    return RenderedTextError(
        f"expected text as the chat template renders it: at character {place} expected {nearest[place:end]!r}, got "
        f"{text[place:end]!r}"
    )
