"""Making a model's Markdown safe to show: its HTML becomes text, in every renderer.

What a model writes is untrusted: it may repeat what a web page or a file told it. JupyterLab
cleans the HTML in Markdown, but nbconvert and others pass it on. The rule that holds here: no
`<` of the model's survives outside fenced code blocks, and each block that holds one is written
so that all renderers agree on where it begins and ends. Links cannot run scripts, and images
become links, since fetching one would tell its server whatever words stand in the address.
"""

import html
import re

_FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>[^\n]*)$")
# A fence behind list or quote marks, or one whose info string renderers read differently.
_DOUBTFUL_FENCE = re.compile(r"^(?P<before>[\s>*+\-\d.)]*)(?P<marks>`{3,}|~{3,})")
# Formulas in the three ways that models write them; none holds a dollar or spans another's mark.
_MATH = re.compile(
    r"(?<![\\$])\$\$(?!\$)(?P<display>[^$]+?)(?<!\\)\$\$(?!\$)"
    r"|(?<![\\$])\$(?![\s$])(?P<inline>[^$\n]*?[^\s$\\])\$(?![$\d])"
    r"|\\\\?\[(?P<brackets>[^$]+?)\\\\?\]"
    r"|\\\\?\((?P<parentheses>[^$\n]+?)\\\\?\)"
    r"|\\begin\{(?P<name>[a-z]+\*?)\}(?P<body>[^$]+?)\\end\{(?P=name)\}"
)
# What a formula could do beyond being read: link, style, load.
_ACTIVE_TEX = re.compile(
    r"\\(?=(?:href|url|require|style|class|cssId|includegraphics|csname|html\w*)\b)"
)
# A dollar that begins no formula: MathJax looks for pairs in the finished page too, where an
# entity is a dollar again, but not across elements.
DOLLAR = "<span>&#36;</span>"
# What opens a formula for some renderer, and would swallow all up to the next such mark.
_MATH_MARK = re.compile(r"\$\$|\\\\[\[(]|\\begin\{")
_CODE_SPAN = re.compile(r"(?<![`\\])(?P<marks>`+)(?!`)(?P<code>[^\n]*?[^`\n])(?P=marks)(?!`)")
# A scheme that runs or reads something, or an entity where a scheme would stand (some renderers
# decode those twice).
_SCRIPT_LINK = re.compile(
    r"(?P<before>\]\(\s*|\]:\s*)(?=(?:javascript|vbscript|data|file)\s*\\?:|[^\s/?#)]*&)",
    re.IGNORECASE,
)
_ESCAPABLE = re.compile(r"(?P<slashes>\\*)(?P<character>[<&$])")
# Browsers drop these from addresses; nothing that a model means to say holds one.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Every character that HTML, Markdown or a math renderer would read.
ACTIVE = str.maketrans({c: f"&#{ord(c)};" for c in r"""<>&"'\`*_{}[]()#+-.!|~$:"""})


def safe_html(text: str) -> str:
    """Write text as HTML that no math renderer reads either: they look at finished pages."""
    escaped = html.escape(text).replace("\\", "<span>&#92;</span>")
    return escaped.replace("$", DOLLAR)


def safe_markdown(text: str) -> str:
    """Rewrite Markdown so that none of it becomes live HTML; what a reader sees stays the same.

    Two things look different: code fences stand outside the list that they were in where they
    hold a `<`, and an image shows as a link.
    """
    lines = _CONTROL.sub("", "\n".join(text.splitlines())).split("\n")
    out: list[str] = []
    prose: list[str] = []
    position = 0
    while position < len(lines):
        fence = _FENCE.match(lines[position])
        if fence is None or ("`" in fence["marks"] and "`" in fence["info"]):
            prose.append(lines[position])
            position += 1
            continue
        if prose:
            out.append(_safe_prose("\n".join(prose)))
            prose = []
        end = _closing(lines, position + 1, fence["marks"])
        out.append(_safe_block(lines[position : end + 1], fence, closed=end < len(lines)))
        position = end + 1
    if prose:
        out.append(_safe_prose("\n".join(prose)))
    return "\n".join(out) + ("\n" if text.endswith("\n") else "")


def _closing(lines: list[str], start: int, marks: str) -> int:
    """Index of the line that closes a fence, or the number of lines where none does."""
    closing = re.compile(rf"^ *{re.escape(marks[0])}{{{len(marks)},}}\s*$")
    for index in range(start, len(lines)):
        if closing.match(lines[index]):
            return index
    return len(lines)


def _safe_block(block: list[str], fence: re.Match[str], *, closed: bool) -> str:
    body = block[1:-1] if closed else block[1:]
    indent = len(fence["indent"])
    held = all(not line.strip() or _indent(line) >= indent for line in body)
    level = closed and _indent(block[-1]) == indent
    content = "\n".join(body)
    harmless = "<" not in content and not _MATH_MARK.search(content)
    if held and level and harmless and _plain_info(fence["info"]):
        return "\n".join(block)
    # At the left margin, closed, and longer than any run inside: a fence for every renderer.
    runs = re.findall(r"`+", content)
    marks = "`" * max(3, *(len(run) + 1 for run in runs), len(fence["marks"]))
    inner = [line[min(indent, _indent(line)) :] for line in body]
    language = re.match(r"\s*([\w+#.-]*)", fence["info"])
    return "\n".join(["", marks + (language[1] if language else ""), *inner, marks, ""])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _plain_info(info: str) -> bool:
    return re.fullmatch(r"[\w+#. =\"'{}:,-]*", info) is not None


def _safe_prose(text: str) -> str:
    lines = [_DOUBTFUL_FENCE.sub(_disarm_fence, line) for line in text.split("\n")]
    text = "\n".join(lines)
    out: list[str] = []
    position = 0
    for match in _MATH.finditer(text):
        out.append(_safe_text(text[position : match.start()]))
        out.append(_safe_formula(match))
        position = match.end()
    out.append(_safe_text(text[position:]))
    return "".join(out)


def _disarm_fence(match: re.Match[str]) -> str:
    return match["before"] + "".join("\\" + mark for mark in match["marks"])


def _safe_formula(match: re.Match[str]) -> str:
    """Write a formula between dollars, the one form that every notebook shows.

    A `<` in it is a relation; an `&` aligns, unless it would begin an entity.
    """
    if match["name"]:
        text = match[0]
    elif display := match["display"] or match["brackets"]:
        text = f"$${display}$$"
    else:
        text = f"${(match['inline'] or match['parentheses']).strip()}$"
    text = text.replace("<", r"\lt ").replace("![", "! [")
    text = _ACTIVE_TEX.sub(r"\\backslash ", text)
    text = _SCRIPT_LINK.sub(r"\g<before>#", text)
    return re.sub(r"&(?=[#\w])", "& ", text)


def _safe_text(text: str) -> str:
    out: list[str] = []
    position = 0
    for match in _CODE_SPAN.finditer(text):
        out.append(_escape(text[position : match.start()]))
        out.append(_safe_code_span(match))
        position = match.end()
    out.append(_escape(text[position:]))
    return "".join(out)


def _safe_code_span(match: re.Match[str]) -> str:
    if not set("<&[]!$\\") & set(match["code"]):
        return match[0]
    # As HTML of our own it cannot be read as anything else, wherever a renderer sees spans end.
    return f"<code>{match['code'].strip().translate(ACTIVE)}</code>"


def _escape(text: str) -> str:
    text = _ESCAPABLE.sub(_entity, text).replace("![", "&#33;[")
    # A mark with no partner here would find one further on, and take what lies between along.
    text = re.sub(r"\\\\(?=[\[\]()])", "&#92;", text).replace(r"\begin{", "&#92;begin{")
    return _SCRIPT_LINK.sub(r"\g<before>#", text)


def _entity(match: re.Match[str]) -> str:
    # A backslash before the character already escapes it, and would now escape the entity.
    slashes = match["slashes"][: len(match["slashes"]) // 2 * 2]
    return slashes + {"<": "&lt;", "&": "&amp;", "$": DOLLAR}[match["character"]]
