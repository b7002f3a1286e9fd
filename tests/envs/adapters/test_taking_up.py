import json

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.queries import as_prompt
from music_agents.personas import Persona
from music_envs.adapters.template import TurnTemplate
from music_envs.chat.world import ChatWorld

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}]
FORGETFUL = (
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'assistant' and not loop.last %}(earlier){% else %}{{ m['content'] }}{% endif %}"
    "<|end|>{% endfor %}"
)

THINKING = (  # as Qwen3 does
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'assistant' and loop.last %}<think></think>{% endif %}{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if quiet %}<think></think>{% endif %}{% endif %}"
)


@pytest.mark.parametrize(
    "given", [MESSAGES, tuple(MESSAGES), json.dumps(MESSAGES), [m | {"name": "x"} for m in MESSAGES]]
)
def test_a_prompt_is_read_from_messages_or_their_json(given):
    assert as_prompt(given).to_messages() == MESSAGES


@pytest.mark.parametrize(
    "given", [None, 3, "Name a river.", [], MESSAGES[:1], [{"content": "Hi"}], [{"role": "tool", "content": "x"}]]
)
def test_what_is_no_prompt_is_refused(given):
    with pytest.raises(InvalidInputError, match="expected"):
        as_prompt(given)


async def test_a_world_goes_on_from_a_conversation_that_ends_with_the_user(scripted):
    personas = [Persona(who="A cook."), Persona(who="A nurse.")]
    world = ChatWorld(num_turns=2, user=scripted(), personas=personas)
    prompt = Conversation.from_messages(MESSAGES)
    same, again, other = (world.take_up(prompt, seed) for seed in (4, 4, 5))
    assert same == again
    assert same.persona != other.persona
    after = await world.reply(same, "The Rhine.")
    assert after.conversation.messages[:3] == prompt.assistant("The Rhine.").messages
    assert after.conversation.next_role == "assistant"
    with pytest.raises(InvalidInputError, match="ends with the user"):
        world.take_up(prompt.assistant("The Rhine."), 4)


def test_a_users_turn_stands_as_the_template_renders_it(make_tokenizer):
    template = TurnTemplate(make_tokenizer())
    assert template.between("And then?", closed=True) == "<|user|>And then?<|end|><|assistant|>"
    assert template.between("And then?", closed=False) == "<|end|><|user|>And then?<|end|><|assistant|>"


def test_a_template_that_leaves_earlier_replies_out_is_refused(make_tokenizer):
    with pytest.raises(InvalidInputError, match="leaves a reply out"):
        TurnTemplate(make_tokenizer(FORGETFUL))


def test_a_template_that_marks_the_last_reply_will_do_and_takes_its_options(make_tokenizer):
    template = TurnTemplate(make_tokenizer(THINKING), quiet=True)
    assert template.between("And then?", closed=True) == "\n<|user|>And then?<|end|>\n<|assistant|><think></think>"
