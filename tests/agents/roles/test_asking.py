"""What a role is told of replies that are of no use."""

import pytest

from music.conversation import Conversation, Message
from music.llm.chat import ChatReply, ReplyOutcome, Sampling
from music_agents.failures import FailureReason, RoleFailedError
from music_agents.roles import RoleView
from music_agents.roles.model_roles import ask

VIEW = RoleView(
    conversation=Conversation().user("Hi!"), side="chosen", part="assistant", turn=0, num_turns=1, pair=0, run_seed=0
)


class Ends:
    """A model all of whose replies end in one way."""

    name = "m@http://127.0.0.1:1/v1"

    def __init__(self, outcome, thinking=""):
        self.outcome, self.thinking = outcome, thinking

    async def complete(self, request):
        return ChatReply(text="", outcome=self.outcome, model="m", thinking=self.thinking)


@pytest.mark.parametrize(
    ("outcome", "thinking", "defect", "reason"),
    [
        (ReplyOutcome.LENGTH, "", "it is cut at the limit of tokens", FailureReason.REPLY_CUT),
        (ReplyOutcome.LENGTH, "Hm", "cut at the limit of tokens while it still thinks", FailureReason.REPLY_CUT),
        (ReplyOutcome.THOUGHT, "Hm", "it is thinking alone, with no answer after it", FailureReason.REPLY_THOUGHT),
        (ReplyOutcome.TOOL_CALLS, "", "it calls a tool instead of answering", FailureReason.REPLY_TOOL_CALL),
        (ReplyOutcome.EMPTY, "", "it is empty", FailureReason.REPLY_EMPTY),
        (ReplyOutcome.CONTENT_FILTER, "", "content filter", FailureReason.REPLY_FILTERED),
    ],
)
async def test_the_error_says_what_is_wrong_with_the_last_reply(outcome, thinking, defect, reason):
    with pytest.raises(RoleFailedError) as caught:
        await ask(Ends(outcome, thinking), VIEW, (Message(role="user", content="Hi!"),), Sampling(), str)
    assert str(caught.value).endswith(defect + ("" if outcome is not ReplyOutcome.CONTENT_FILTER else " stopped it"))
    assert caught.value.reason is reason
