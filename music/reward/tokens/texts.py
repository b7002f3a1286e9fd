"""`TextTokenizer`: from text, or ids, in a reward model's own chat template to tokens under its score contract."""

from collections.abc import Sequence

from music.conversation import Conversation
from music.reward.tokens.contract import Unscorable
from music.reward.tokens.encoding import ConversationTokenizer, Encoding
from music.reward.tokens.rendered import RenderedTextError, RenderedTextParser
from music.reward.tokens.template import up_to_read

__all__ = ["TextTokenizer"]


class TextTokenizer:
    """Encodes what clients rendered themselves, as those of vLLM's and SGLang's classification do.

    A text is read as messages, and these are encoded as any others. The ids are then those that the messages give: BOS
    stands once or not at all, as in training, a missing end of the last reply is added, and the oldest exchanges of
    long conversations are dropped.

    A text that begins as the template does, but cannot be read as messages, is tokenized unchanged. One with tool
    results, for example, cannot. It has a score if it is short enough, ends with the contract's reward token, and the
    readout is `last`.

    Example:
        >>> tokens = RewardModel.from_pretrained("runs/rm").tokens  # doctest: +SKIP
        >>> TextTokenizer(tokens).encode(["<|user|>Hi!<|end|><|assistant|>Hello.<|end|>"])  # doctest: +SKIP
        [Encoding(ids=[...], reads=(11,), num_dropped_turns=0)]
    """

    def __init__(self, tokens: ConversationTokenizer) -> None:
        """Learn the template.

        Raises:
            InvalidInputError: Text cannot be split at what the template writes around messages.
        """
        self._tokens = tokens
        self._parser = RenderedTextParser(tokens.tokenizer)

    def encode(self, texts: Sequence[str | Sequence[int]]) -> list[Encoding | Unscorable]:
        """Encode texts or token ids.

        Ids that are the tokenizer's own for some text are that text. Others, as a policy may sample them, are kept.
        """
        read = [self._read(text) for text in texts]
        encoded = iter(self._tokens.encode([each for each in read if isinstance(each, Conversation)]))
        return [next(encoded) if isinstance(each, Conversation) else each for each in read]

    def _read(self, given: str | Sequence[int]) -> Conversation | Encoding | Unscorable:
        """Return the conversation of a text; without one, what encoding the text unchanged gives."""
        if isinstance(given, str):
            return self._parsed(given) or self._unchanged(given, self._ids(given))
        ids = list(given)
        text = str(self._tokens.tokenizer.decode(ids, skip_special_tokens=False))
        is_own = self._ids(text) == ids
        return (self._parsed(text) if is_own else None) or self._unchanged(text, ids)

    def _parsed(self, text: str) -> Conversation | None:
        try:
            return self._parser.parse(text)
        except RenderedTextError:
            return None

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokens.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _unchanged(self, text: str, ids: list[int]) -> Encoding | Unscorable:
        """Return the encoding of ids that cannot be read as messages."""
        contract, bos = self._tokens.contract, self._tokens.tokenizer.bos_token_id
        if contract.readout != "last" or not self._parser.has_start(text):
            return Unscorable.TEXT_NOT_OF_TEMPLATE
        if contract.starts_with_bos:
            ids = ids if ids[:1] == [bos] else [bos, *ids]
        elif ids[:1] == [bos]:
            ids = ids[1:]
        if ids[-1:] != [contract.reward_token_id]:
            return Unscorable.REWARD_TOKEN_MISSING
        if len(ids) > contract.max_length:
            return Unscorable.OVER_LONG
        ids = up_to_read(ids, contract)
        return Encoding(ids, (len(ids) - 1,))
