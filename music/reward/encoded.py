"""`EncodedConversation`: the token sequences that give a conversation's score and the rewards of its turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from music.conversation import Conversation
from music.reward.packing import TokenSequence
from music.reward.tokens.contract import Readout, Scored, Unscorable, read_rewards
from music.reward.tokens.encoding import ConversationTokenizer, Encoding
from music.reward.tokens.template import ends_of_prefixes

__all__ = ["EncodedConversation", "encode_each", "sequences_of_turns"]


@dataclass(frozen=True, slots=True)
class EncodedConversation:
    """A conversation as token sequences.

    Attributes:
        sequences: The first gives the score. The others give the rewards of the turns in their order, if they were
            asked for. Empty if there is a problem.
        num_dropped_turns: Number of oldest exchanges that were dropped.
        problem: Why there is no score; None if there is one.
    """

    sequences: tuple[TokenSequence, ...] = ()
    num_dropped_turns: int = 0
    problem: Unscorable | None = None

    @classmethod
    def of(cls, encoding: Encoding | Unscorable) -> "EncodedConversation":
        """Return a conversation whose turns were not asked for."""
        if isinstance(encoding, Unscorable):
            return cls(problem=encoding)
        return cls((encoding.sequence,), encoding.num_dropped_turns)

    @property
    def num_tokens(self) -> int:
        """Number of tokens that the score depends on."""
        return len(self.sequences[0].ids) if self.sequences else 0

    def scored(self, readout: Readout, rewards: Sequence[Sequence[float]]) -> Scored:
        """Return the score by a readout, given the rewards at each sequence's reads."""
        if self.problem is not None:
            return Scored(None, problem=self.problem)
        own, *turns = rewards
        score, by_turn = read_rewards(readout, own), tuple(reward for each in turns for reward in each)
        return Scored(score, by_turn, self.num_dropped_turns)


def encode_each(
    tokens: ConversationTokenizer, conversations: Sequence[Conversation], *, per_turn: bool
) -> list[EncodedConversation]:
    """Encode conversations, and all their beginnings if the rewards of turns are asked for.

    Raises:
        ContractError: Turns are read, but the template renders a history differently once more turns follow.
    """
    encodings = tokens.encode(conversations, remember=per_turn)
    if not per_turn:
        return [EncodedConversation.of(encoding) for encoding in encodings]
    beginnings = [[c.prefix(end) for end in c.turn_ends] for c in conversations]
    cut = iter(tokens.encode([each for of_one in beginnings for each in of_one], every_turn=False, remember=True))
    return [
        _with_turns(encoding, list(islice(cut, len(of_one))))
        for encoding, of_one in zip(encodings, beginnings, strict=True)
    ]


def _with_turns(whole: Encoding | Unscorable, turns: Sequence[Encoding | Unscorable]) -> EncodedConversation:
    problem = next((each for each in (whole, *turns) if isinstance(each, Unscorable)), None)
    if problem is not None or isinstance(whole, Unscorable):
        return EncodedConversation(problem=problem)
    of_turns = sequences_of_turns([turn for turn in turns if isinstance(turn, Encoding)])
    return EncodedConversation((whole.sequence, *of_turns), whole.num_dropped_turns)


def sequences_of_turns(beginnings: Sequence[Encoding]) -> list[TokenSequence]:
    """Return the sequences that give every beginning's reward; untruncated beginnings share the longest one."""
    whole = [each.ids for each in beginnings if not each.num_dropped_turns]
    shared = [TokenSequence(whole[-1], tuple(ends_of_prefixes(whole[-1], whole)))] if whole else []
    return shared + [each.sequence for each in beginnings if each.num_dropped_turns]
