import pytest

from music.conversation import Conversation
from music_agents.defects.swaps import Transcript


@pytest.fixture
def transcripts():
    """Three conversations of two, three and four turns."""
    made = []
    for number in range(3):
        conversation = Conversation()
        for turn in range(number + 2):
            conversation = conversation.user(f"request {number}.{turn}").assistant(f"answer {number}.{turn}")
        made.append(Transcript(id=f"t-{number}", source="made", conversation=conversation))
    return made
