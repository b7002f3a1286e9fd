"""The protocol of vLLM: `POST /classify` in the chat form, one conversation a request."""

from collections.abc import Sequence

from music.conversation import Conversation
from music.reward.remote.wire import Outcome, Reply, ServerModel, Wire
from music.reward.tokens.contract import Scored

__all__ = ["VllmWire"]


class _Result(ServerModel):
    probs: list[float]
    num_classes: int


class _Classification(ServerModel):
    data: list[_Result]


class VllmWire(Wire):
    """`POST /classify` with `use_activation` false; the server renders the messages. The reward is the only "prob"."""

    path = "classify"
    max_batch = 1
    can_activate = True

    async def ask(
        self, conversations: Sequence[Conversation], *, per_turn: bool = False, activated: bool = False
    ) -> Reply:
        """Score one conversation; see `Wire.ask`."""
        (conversation,) = conversations
        request = {
            "model": self.model,
            "messages": conversation.to_messages(),
            "add_generation_prompt": False,
            "use_activation": activated,
        }
        answer = await self.post(request)
        expected = "a finite number as data[0].probs[0]"
        results = self.read(_Classification, answer, expected).data
        if len(results) != 1:
            raise self.malformed(expected, answer)
        return Reply([Outcome(Scored(self.one_reward(results[0].probs, results[0].num_classes)))])
