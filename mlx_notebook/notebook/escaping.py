"""Make Markdown from a model safe to show: HTML in it becomes text, in every renderer.

The text of a model is untrusted: it may repeat a web page or a file. JupyterLab sanitizes HTML in
Markdown, but nbconvert and others do not. So no `<` of the text survives outside fenced code
blocks. A code block that contains one is written so that all renderers agree where it begins and
ends. Links cannot run scripts. Images become links, because loading an image would send the text in
its address to another server.
"""

import html
import re

_FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>[^\n]*)$")
# A fence after list or quote marks: renderers disagree on where it begins.
_DOUBTFUL_FENCE = re.compile(r"^(?P<before>[\s>*+\-\d.)]*)(?P<marks>`{3,}|~{3,})")
# Formulas in the notations that models use. None contains a dollar.
_MATH = re.compile(
    r"(?<![\\$])\$\$(?!\$)(?P<display>[^$]+?)(?<!\\)\$\$(?!\$)"
    r"|(?<![\\$])\$(?![\s$])(?P<inline>[^$\n]*?[^\s$\\])\$(?![$\d])"
    r"|\\\\?\[(?P<brackets>[^$]+?)\\\\?\]"
    r"|\\\\?\((?P<parentheses>[^$\n]+?)\\\\?\)"
    r"|\\begin\{(?P<name>[a-z]+\*?)\}(?P<body>[^$]+?)\\end\{(?P=name)\}"
)
# TeX commands that link, style or load something.
_ACTIVE_TEX = re.compile(
    r"\\(?=(?:href|url|require|style|class|cssId|includegraphics|csname|html\w*)\b)"
)
# A dollar that does not begin a formula. MathJax also looks for pairs of dollars in the finished
# page, where an entity is a dollar again. It does not look across elements.
DOLLAR = "<span>&#36;</span>"
# Marks that begin a formula in some renderers.
_MATH_MARK = re.compile(r"\$\$|\\\\[\[(]|\\begin\{")
_CODE_SPAN = re.compile(r"(?<![`\\])(?P<marks>`+)(?!`)(?P<code>[^\n]*?[^`\n])(?P=marks)(?!`)")
# A scheme that runs or reads something, or an entity in its place: some renderers decode entities
# twice.
_SCRIPT_LINK = re.compile(
    r"(?P<before>\]\(\s*|\]:\s*)(?=(?:javascript|vbscript|data|file)\s*\\?:|[^\s/?#)]*&)",
    re.IGNORECASE,
)
_ESCAPABLE = re.compile(r"(?P<slashes>\\*)(?P<character>[<&$])")
# Browsers ignore these characters in addresses.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Every character with a meaning in HTML, Markdown or a math renderer.
ACTIVE = str.maketrans({c: f"&#{ord(c)};" for c in r"""<>&"'\`*_{}[]()#+-.!|~$:"""})


def safe_html(text: str) -> str:
    """Escape text for HTML, also for math renderers, which read the finished page."""
    escaped = html.escape(text).replace("\\", "<span>&#92;</span>")
    return escaped.replace("$", DOLLAR)


def safe_markdown(text: str) -> str:
    """Rewrite Markdown so that nothing in it becomes live HTML.

    It looks the same except for two things: a fenced code block that contains `<` moves out of its
    list, and images become links.
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
    """Return the index of the line that closes a fence, or the number of lines if none does."""
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
    # Every renderer reads this fence alike: at the left margin, closed, longer than any run inside.
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
    """Write a formula between dollars, the one form that every notebook renders.

    A `<` in it is a relation. An `&` aligns, unless it would begin an entity.
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
    # Renderers disagree on where code spans end; on HTML of ours they agree.
    return f"<code>{match['code'].strip().translate(ACTIVE)}</code>"


def _escape(text: str) -> str:
    text = _ESCAPABLE.sub(_entity, text).replace("![", "&#33;[")
    # An opening mark without a closing one would extend to the next formula.
    text = re.sub(r"\\\\(?=[\[\]()])", "&#92;", text).replace(r"\begin{", "&#92;begin{")
    return _SCRIPT_LINK.sub(r"\g<before>#", text)


def _entity(match: re.Match[str]) -> str:
    # A backslash before the character already escapes it. It would now escape the entity.
    slashes = match["slashes"][: len(match["slashes"]) // 2 * 2]
    return slashes + {"<": "&lt;", "&": "&amp;", "$": DOLLAR}[match["character"]]
