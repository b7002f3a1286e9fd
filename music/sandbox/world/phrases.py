"""The sandbox's English: a template for every sentence, with slots for words of the lexicon."""

from music.sandbox.world.vocabulary import AskKind, Fact, MemoryAsk, Standing

__all__ = ["ASKS", "FEEDBACK", "GREETINGS", "MEMORY_ASKS", "OPENERS", "QUOTES", "RECALLS", "RESOURCES", "STATEMENTS"]
__all__ += ["TIPS"]

ASKS: dict[AskKind, tuple[str, ...]] = {
    AskKind.NEW: (
        "Could you give me {count} on {topic} {aspect}?",
        "I would like {count} about {topic} {aspect}, please.",
        "Please share {count} on the {aspect} side of {topic}.",
        "Can I get {count} for {topic} {aspect}?",
        "I am new to {topic}, so give me {count} on {aspect}.",
    ),
    AskKind.EXPANSION: (
        "And what about the {aspect}?",
        "Now the {aspect} side, please.",
        "How about {aspect}?",
        "Could you do the {aspect} next?",
    ),
    AskKind.SWAP: (
        "Same for {topic}, please.",
        "Can you do that for {topic} too?",
        "And for {topic}?",
        "What would you say for {topic}?",
    ),
    AskKind.REFINEMENT: (
        "Make it {count}, please.",
        "Could I have {count} instead?",
        "I need {count} this time.",
    ),
    AskKind.FOLLOW_UP: (
        "Could you go deeper on your last point?",
        "Tell me more about that last part.",
        "Say a bit more about the last point, please.",
    ),
    AskKind.RECOLLECTION: (
        "Remind me, what is my {fact}?",
        "Do you still know my {fact}?",
        "What did I say about my {fact}?",
    ),
}
MEMORY_ASKS: dict[MemoryAsk, tuple[str, ...]] = {
    MemoryAsk.QUOTE: (
        "What did you say in turn {turn}?",
        "Tell me what you said in turn {turn}, please.",
        "What was your point in turn {turn}?",
    ),
    MemoryAsk.PLAN: (
        "I would like the {steps} of {topic}, each in turn.",
        "Please share the {steps} side of {topic}, each in turn.",
        "I am new to {topic}, so give me {steps}, each in turn.",
    ),
    MemoryAsk.STEP: (
        "And the next side?",
        "Now the next side, please.",
        "What is next?",
        "Could you do the next side?",
    ),
    MemoryAsk.CORRECTION: (
        "Please do it right this time.",
        "Could you do it right this time?",
        "I need it right, please.",
        "Try it another time, please.",
    ),
}
"""The words are those of the other templates, so that the shipped tokenizer knows each of them."""
STATEMENTS: dict[Standing | Fact, tuple[str, ...]] = {
    Standing.ADDRESS: ("Please call me {value}.", "I go by {value}, so use it.", "Call me {value} each time."),
    Standing.END: (
        "Please end with {value} each time.",
        "Always sign off with {value}.",
        "Close replies with {value}.",
    ),
    Standing.AVOID: ("I do not own a {value}.", "Never suggest a {value}, please.", "Leave out the {value}."),
    Fact.JOB: ("By the way, I work as a {value}.", "I am a {value}, you see."),
    Fact.PET: ("I live with a {value}.", "My {value} keeps me company."),
    Fact.BIRTHDAY: ("I was born in {value}.", "I turn forty in {value}."),
}
GREETINGS = ("Hi!", "Hello there!", "Good morning!")
FEEDBACK: dict[str, tuple[str, ...]] = {
    "": ("Perfect, thanks.", "Great, that is what I wanted."),
    "topic": ("Wrong hobby, that was.",),
    "aspect": ("Not the side I meant.",),
    "count": ("That was another number of them.",),
    "follow_up": ("Hm, I meant your last point.",),
    "recollection": ("No, I told you otherwise.",),
    "address": ("You did not use my name.",),
    "end": ("But you did not sign off as I asked.",),
    "avoid": ("I asked you to leave that out.",),
    "contradiction": ("Your point was another.",),
    "step": ("The next side was another.",),
}
"""Reactions of users to a reply, by the kind of error ("" for none), each with a different first word.

In the pretraining text they come before any request; users with memory say them before a correction."""

OPENERS = ("Sure", "Of course", "Gladly", "Certainly", "All right")
TIPS = (
    "Start small with {topic} {aspect}.",
    "Read up on {topic} {aspect}.",
    "Plan {topic} {aspect} early.",
    "Ask a friend about {topic} {aspect}.",
    "Keep {topic} {aspect} simple.",
    "Review {topic} {aspect} every week.",
    "Mind the {aspect} side of {topic}.",
    "Take {topic} {aspect} slowly.",
)
QUOTES = ("I said {topic} {aspect}.", "My point was {topic} {aspect}.", "That was about {topic} {aspect}.")
RESOURCES = ("A {value} helps.", "Keep a {value} close by.", "Try it with a {value}.")
RECALLS: dict[Fact, tuple[str, ...]] = {
    Fact.JOB: ("You work as a {value}.", "You said you are a {value}."),
    Fact.PET: ("You live with a {value}.", "You told me about your {value}."),
    Fact.BIRTHDAY: ("You were born in {value}.", "Your month is {value}."),
}
