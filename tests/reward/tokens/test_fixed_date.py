import pytest
from transformers import AutoTokenizer

from music.reward import RewardModel
from music.reward.tokens.contract import ContractError
from music.reward.tokens.encoding import ConversationTokenizer
from music.reward.tokens.fixed_date import FIXED_DATE, require_no_clock, with_fixed_date
from music.reward.tokens.template import derive_contract

TURNS = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
DATED = "<|system|>Today is {{ strftime_now('%d %b %Y') }}<|end|>" + TURNS
CLOCKS = {
    "called": DATED,
    "under another name": "{% set now = strftime_now %}{{ now('%Y') }}" + TURNS,
    "in a macro": "{% macro day() %}{{ strftime_now('%d') }}{% endmacro %}{{ day() }}" + TURNS,
    "where no date is given": "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}"
    "{% endif %}{{ date_string }}" + TURNS,
    "only without a system message": "{% if messages[0]['role'] != 'system' %}{{ strftime_now('%A') }}{% endif %}"
    + TURNS,
    "within the reply": "{% for m in messages %}<|{{ m['role'] }}|>{% generation %}{{ strftime_now('%j') }}"
    "{{ m['content'] }}<|end|>{% endgeneration %}{% endfor %}",
    "in a loop that ends early": "{% for m in messages %}{% if loop.index > 9 %}{% break %}{% endif %}"
    "<|{{ m['role'] }}|>{{ strftime_now(format='100%% ' ~ '%B') }}{{ m['content'] }}<|end|>{% endfor %}",
}
CHANCE = {
    "random": "{{ ['a', 'b'] | random }}" + TURNS,
    "mapped": "{{ [['a', 'b']] | map('random') | join }}" + TURNS,
    "mapped by a name that is put together": "{{ [['a', 'b']] | map('ran' ~ 'dom') | join }}" + TURNS,
    "mapped by unpacked arguments": "{{ [['a', 'b']] | map(*['random']) | join }}" + TURNS,
    "in a block": "{% filter list | random %}ab{% endfilter %}" + TURNS,
    "lipsum": "{{ lipsum(n=1) }}" + TURNS,
}
STEADY = {
    "text": "strftime_now lipsum random" + TURNS,
    "string": "{{ 'strftime_now | random' }}{# strftime_now() #}" + TURNS,
    "its own macro": "{% macro strftime_now(format) %}2025{% endmacro %}{{ strftime_now('%Y') }}" + TURNS,
    "harmless filters": "{{ messages | map(attribute='role') | map('upper') | join }}" + TURNS,
}
ALL_CODES = "%a %A %w %u %d %-d %e %b %h %B %m %-m %y %Y %C %G %g %H %-H %k %I %-I %l %p %P %M %-M %S %-S %f %z %Z %j"
ALL_CODES += " %-j %U %W %V %c %x %X %D %F %T %R %r %% %%d %%%d %n%t."


@pytest.mark.parametrize("template", CLOCKS.values(), ids=CLOCKS)
def test_a_template_that_reads_the_clock_is_refused_and_can_be_given_a_date(
    make_tokenizer, make_conversation, set_clock, template
):
    with pytest.raises(ContractError, match="score of the same text would change with the day"):
        derive_contract(make_tokenizer(template), 512)
    tokenizer = make_tokenizer(with_fixed_date(template))
    tokens = ConversationTokenizer.from_tokenizer(tokenizer, 512)
    encodings = []
    for day in (2026, 3, 5), (2027, 11, 28), (2024, 7, 26, 12):
        set_clock(*day)
        encodings.append(tokens.encode([make_conversation(0)]))
    assert encodings[0] == encodings[1] == encodings[2]
    # On that day, the clock itself says the same.
    messages = make_conversation(0).to_messages()
    clock = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
    assert clock == tokenizer.apply_chat_template(messages, tokenize=False)
    assert with_fixed_date(tokenizer.chat_template) == tokenizer.chat_template


def test_every_format_code_means_what_the_clock_means_by_it(make_tokenizer, set_clock):
    set_clock(2024, 7, 26, 12)
    tokenizer, template = make_tokenizer(), "{{ strftime_now('" + ALL_CODES + "') }}"
    fixed, clock = (
        tokenizer.apply_chat_template([{"role": "user", "content": ""}], chat_template=each, tokenize=False)
        for each in (with_fixed_date(template), template)
    )
    assert fixed == clock


@pytest.mark.parametrize("template", ["  {% if 1 %}x{% endif %}\n{{ 'y' }}", "\n\nx", "\t{{- 'x' }}\n\n"])
def test_the_template_begins_as_without_the_date(make_tokenizer, template):
    template += "{% if messages | length > 9 %}{{ strftime_now('%Y') }}{% endif %}"
    plain, fixed = (
        make_tokenizer().apply_chat_template([{"role": "user", "content": ""}], chat_template=each, tokenize=False)
        for each in (template, with_fixed_date(template))
    )
    assert plain == fixed


@pytest.mark.parametrize("template", CHANCE.values(), ids=CHANCE)
def test_a_template_that_draws_at_random_is_refused(make_tokenizer, template):
    with pytest.raises(ContractError, match=r"draws at random .*take that out of the template"):
        derive_contract(make_tokenizer(template), 512)


@pytest.mark.parametrize("template", STEADY.values(), ids=STEADY)
def test_the_words_alone_are_no_fault(make_tokenizer, template):
    assert with_fixed_date(template) == template
    assert derive_contract(make_tokenizer(template), 512)


def test_what_is_no_template_is_refused(make_tokenizer):
    with pytest.raises(ContractError, match="not a valid Jinja template"):
        require_no_clock("{% for m in messages %}")


@pytest.fixture
def dated(reward_checkpoint):
    """A reward model without a contract whose template writes today's date."""
    path = reward_checkpoint()
    (path / "chat_template.jinja").write_text(DATED)
    return path


def test_a_reward_model_scores_the_same_text_alike_on_every_day(dated, make_conversation, set_clock, caplog, tmp_path):
    scores = []
    for day, path in ((2026, 3, 5), dated), ((2027, 11, 28), dated), ((2028, 2, 3), tmp_path):
        set_clock(*day)
        model = RewardModel.from_pretrained(path, device="cpu")
        scores.append(model.score([make_conversation(0)]))
        model.save_pretrained(tmp_path)
    assert scores[0] == scores[1] == scores[2]
    assert caplog.text.count(f"{FIXED_DATE} is written instead") == 2  # what was saved has its date
    assert FIXED_DATE in AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        make_conversation(0).to_messages(), tokenize=False
    )


def test_a_contract_over_a_dated_template_is_refused_with_the_remedy(dated):
    contract = RewardModel.from_pretrained(dated, device="cpu").contract
    contract.save(dated)
    (dated / "chat_template.jinja").write_text(DATED)
    with pytest.raises(ContractError, match="write the date of its training in place of the call") as error:
        RewardModel.from_pretrained(dated, device="cpu")
    assert str(dated) in str(error.value)
