"""What a role is told of replies that are of no use."""

import pytest

from music.conversation import Conversation, Message
from music.llm.chat import ChatReply, ReplyOutcome, Sampling
from music_agents.failures import RoleFailedError
from music_agents.roles import RoleView
from music_agents.roles.asking import ask

VIEW = RoleView(
    conversation=Conversation().user("Hi!"), side="chosen", part="assistant", turn=0, num_turns=1, pair=0, run_seed=0
)


class Ends:
    """A model all of whose replies end in one way."""

    name = "m@http://127.0.0.1:1/v1"

    def __init__(self, outcome):
        self.outcome = outcome

    async def complete(self, request):
        return ChatReply(text="", outcome=self.outcome, model="m")


@pytest.mark.parametrize(
    ("outcome", "remedy"),
    [
        (ReplyOutcome.LENGTH, "raise --max-reply-tokens"),
        (ReplyOutcome.THOUGHT, "raise --max-reply-tokens, or switch thinking off"),
        (ReplyOutcome.THOUGHT, "--option extra_body.chat_template_kwargs.enable_thinking=false"),
        (ReplyOutcome.TOOL_CALLS, "serve the model without tools"),
        (ReplyOutcome.EMPTY, "it is empty"),
        (ReplyOutcome.CONTENT_FILTER, "content filter"),
    ],
)
async def test_the_error_names_the_remedy(outcome, remedy):
    with pytest.raises(RoleFailedError) as caught:
        await ask(Ends(outcome), VIEW, (Message(role="user", content="Hi!"),), Sampling(), str)
    assert remedy in str(caught.value)
