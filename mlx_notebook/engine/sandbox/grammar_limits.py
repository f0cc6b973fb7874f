"""Limits on the cost of a grammar, and plain error messages for llguidance's."""

import re

from llguidance import LLParserLimits

# Rows of 5,000 items allow 1,250 optional properties or 5,000 choices. A step then takes up to
# 15 ms, and the cost grows with the square. A state of the lexer takes 1 to 2 kB.
LIMITS = LLParserLimits(max_items_in_row=5000, max_lexer_states=50_000, verbose_errors=False)
MAX_TEXT = 1_000_000
"""Maximum bytes of a whole grammar."""

_TOO_COMPLEX = "it repeats, combines or counts too much: use fewer or smaller repetitions"
_TOO_LARGE = "it is too large: split it, or leave parts of it out"
_TOO_DEEP = "it is nested too deeply"
_NOTHING = "no text fulfils it"
# Patterns of llguidance's messages, and what we say instead.
_MEANINGS: tuple[tuple[str, str], ...] = (
    (
        r"Current row has (?P<found>\d+) items; max is (?P<limit>\d+)",
        "it leaves too much open at one place ({found} possibilities, {limit} at most): make "
        "properties required, or offer fewer choices",
    ),
    (r"Too many items", "it is too ambiguous: one text can be read in too many ways"),
    (r"too many expressions|fuel exhausted|too many states", _TOO_COMPLEX),
    (r"too big \(limit for this grammar|too large|assertion failed: grammar\.symbols", _TOO_LARGE),
    (
        r"too deeply nested|nest limit|NestLimitExceeded|exceeds the maximum number of nested",
        _TOO_DEEP,
    ),
    (r"NoExtension|Regex is empty", _NOTHING),
    (r"Unsatisfiable schema: (?P<reason>.+)", _NOTHING + " ({reason})"),
    (
        r"coerce_one_of",
        "which branch of its 'oneOf' is meant cannot be told while it is written: use 'anyOf'",
    ),
    (
        r"Unimplemented keys: \[(?P<keys>.*?)\]",
        "these of its keywords cannot be enforced: {keys}; leave them out",
    ),
    (
        r"Resource '(?P<where>.*?)/*' is not present in a registry",
        "its '$ref' leads to {where}: only references inside the schema are followed",
    ),
    (r"circular references", "one of its '$ref's leads back to itself beside other keywords"),
    (r"Pointer '(?P<where>.*?)' does not exist", "its '$ref' to '#{where}' leads nowhere"),
    (
        r"regex parse error:[\s\S]*?\nerror: (?P<reason>.+)",
        "a regular expression in it is not valid: {reason}",
    ),
    (r"InternalError|panic", "the library that enforces formats fails on it: simplify it"),
)
_PLACE = re.compile(r"^(?:at )?\d+\(\d+\): (?:failed to compile JSON schema: )?")


def explain(message: str) -> str:
    """Return a message of llguidance in plain words, without a full stop.

    Internal options and positions in generated grammars are left out.
    """
    for pattern, meaning in _MEANINGS:
        found = re.search(pattern, message)
        if found is not None:
            return _shortened(meaning.format(**found.groupdict()))
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    text = lines[0] if lines else "it is not valid"
    while (shorter := _PLACE.sub("", text)) != text:
        text = shorter
    return _shortened(text)


def _shortened(text: str) -> str:
    text = text.strip().rstrip(".")
    return text if len(text) <= 500 else f"{text[:300]} ... {text[-190:]}"
