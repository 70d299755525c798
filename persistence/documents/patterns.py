"""Patterns of `$regex`: the part of regular expressions that means the same to Python's `re` and to PCRE.

    abc  .  [a-z]  [^a-z]   characters; `.` is any, line breaks included
    \\d \\w \\s               digits, word characters and white space of ASCII, also inside brackets
    \\. \\n \\r \\t           escaped punctuation and control characters
    .*                      any characters in between
    ^ and $                 the start and the end of the whole text
    |                       between alternatives

Groups, other repetitions, backreferences and lookaround are refused. So a text is searched from left to
right, at most `MAX_TEXT` steps a character: each piece between two `.*` has one length, and its first
occurrence is as good as any later one. Atomic groups tell both engines not to come back to it. Without
this bound, Python's `re` would hold the interpreter's lock for as long as a pattern makes it backtrack.

With the option `i` each character stands for its upper and lower case, and ranges are of letters or digits.
The cases are written into the pattern, since the two engines fold some letters differently.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from persistence.errors import InvalidQuery

MAX_TEXT: Final = 250
"""Characters of a pattern."""

_ESCAPE: Final = r"\\[dwsnrt!-/:-@\[-`{-~]"
_MEMBER: Final = rf"(?:{_ESCAPE}|[^\\\[\]^&~|-])"
_MEMBERS: Final = re.compile(rf"{_MEMBER}(?:-{_MEMBER})?", re.DOTALL)
_ITEM: Final = re.compile(
    rf"(?P<gap>\.\*)|(?P<brackets>\[\^?)(?P<members>(?:{_MEMBERS.pattern})+-?)\]|\.|{_ESCAPE}|[^\\^$.|?*+()\[\]{{}}]",
    re.DOTALL,
)
_END: Final = r"(?![\s\S])"


@lru_cache(maxsize=256)
def compile_pattern(text: str, options: str) -> re.Pattern[str]:
    """The expression whose `match` tells whether a text has the pattern; its `pattern` is valid for PCRE too.

    Args:
        text: a pattern of the dialect.
        options: "" or "i".

    Raises `InvalidQuery` for everything else.
    """
    if len(text) > MAX_TEXT:
        raise InvalidQuery(f"A $regex is longer than {MAX_TEXT} characters.")
    alternatives = []
    position = 0
    while position <= len(text):
        anchored = text.startswith("^", position)
        position += anchored
        pieces = [""]
        while found := _ITEM.match(text, position):
            position = found.end()
            if found["gap"]:
                pieces.append("")
            else:
                pieces[-1] += _both_cases(found) if options else found[0]
        if text.startswith("$", position):
            position += 1
            pieces[-1] += _END
        if text[position : position + 1] not in ("", "|"):
            hint = "Groups are not supported, nor repetitions but `.*`; a backslash makes punctuation stand for itself."
            raise InvalidQuery(f"The $regex {text!r} has something unsupported at position {position}.", hint=hint)
        position += 1
        start = pieces.pop(0) if anchored else ""
        alternatives.append(f"^{start}{''.join(f'(?>.*?{piece})' for piece in pieces)}")
    try:
        return re.compile("|".join(alternatives).replace("\0", r"\x00"), re.ASCII | re.DOTALL)
    except re.error as error:
        raise InvalidQuery(f"The $regex {text!r} cannot be understood: {error}.") from error


def _both_cases(item: re.Match[str]) -> str:
    if not item["brackets"]:
        swapped = item[0].swapcase()
        return item[0] if len(item[0]) > 1 or len(swapped) > 1 or swapped == item[0] else f"[{item[0]}{swapped}]"
    members = item["members"]
    for member in _MEMBERS.findall(members):
        if len(member) > 2 and not re.fullmatch("[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]", member):
            raise InvalidQuery(f"The range {member!r} of a $regex has no upper and lower case.")
        if "\\" not in member and len(member.swapcase()) == len(member):
            members = member.swapcase() + members
    return f"{item['brackets']}{members}]"
