"""Static HTML of tokens: colours to look at, and the same in tables for screen readers.

It has no scripts and no style sheet, so a saved notebook shows it without a kernel. Where styles
are removed, as on GitHub, the tables remain.
"""

from collections.abc import Iterable, Sequence

from mlx_notebook.notebook.escaping import safe_html
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.probabilities.scored_tokens import (
    Attention,
    PromptPart,
    PromptToken,
    ScoredToken,
)

LIKELY = 0.5
"""A token at least as likely is not marked in plain text."""

_MOST_SHOWN = 2_000
# JupyterLab aligns text in tables to the right.
_LEFT = ' style="text-align: left"'
_ORANGE, _BLUE, _GREY = "217, 72, 15", "28, 126, 214", "128, 128, 128"
_TEXT = "white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; margin: 0.5em 0"
_CHART_HEIGHT, _LEAST_BITS = 48, 2.0


def answer_html(
    summary: str,
    tokens: Sequence[ScoredToken],
    prompt_parts: Sequence[PromptPart],
    prompt: Sequence[PromptToken],
    attention: Attention | None = None,
) -> str:
    """Write an answer: its tokens in colours, their entropy, and tables."""
    parts = [
        f"<p>{safe_html(summary)}. The stronger the colour, the less likely the token; "
        "a dotted line marks forced ones.</p>",
        f'<div style="{_TEXT}">{"".join(map(_token, tokens[:_MOST_SHOWN]))}</div>',
        _entropy_chart(tokens[:_MOST_SHOWN]),
        _more(len(tokens)),
        _block(f"Table of {plural(len(tokens), 'token')}", _token_table(tokens)),
    ]
    if prompt_parts:
        title = "What the answer owes to each part of the prompt"
        parts.append(_block(title, parts_html(prompt_parts)))
    if attention is not None:
        parts.append(attention_html(attention, prompt, tokens))
    if prompt:
        parts.append(prompt_html(prompt, is_open=False))
    return "".join(parts)


def prompt_html(
    tokens: Sequence[PromptToken], title: str = "Prompt", *, is_open: bool = True
) -> str:
    """Write a prompt: its tokens alternate in shade, and those of the prefix cache are blue."""
    cached = sum(token.is_cached for token in tokens)
    spans = "".join(
        f'<span title="{token.id}{", cached" if token.is_cached else ""}" '
        f'style="background: rgba({_BLUE if token.is_cached else _GREY}, '
        f'{0.30 if at % 2 else 0.15})">{_visible(token.text)}</span>'
        for at, token in enumerate(tokens[:_MOST_SHOWN])
    )
    count = plural(len(tokens), "token")
    heading = f"{title}: {count}, {cached} of them from the prefix cache" if cached else None
    rows = (
        (str(at), _alone(token.text), str(token.id), "cached" if token.is_cached else "")
        for at, token in enumerate(tokens[:_MOST_SHOWN], 1)
    )
    columns = ("place", "token", "id", "") if cached else ("place", "token", "id")
    table = _table(columns, (row[: len(columns)] for row in rows))
    return _block(
        heading or f"{title}: {count}",
        f'<div style="{_TEXT}">{spans}</div>{_more(len(tokens))}{_block("Table of tokens", table)}',
        is_open=is_open,
    )


def parts_html(parts: Sequence[PromptPart]) -> str:
    """Write the parts of a prompt, coloured by their importance, and a table."""
    most = max((abs(part.importance) for part in parts), default=0.0) or 1.0
    spans = "".join(
        f'<span title="{part.importance:+.1f} bits" style="background: '
        f"rgba({_ORANGE if part.importance >= 0 else _BLUE}, "
        f'{0.7 * abs(part.importance) / most:.2f})">{_visible(part.text)}</span>'
        for part in parts
    )
    ordered = sorted(parts, key=lambda part: -part.importance)
    table = _table(
        ("part", "the answer is less likely without it by"),
        ((part.text, f"{part.importance:+.1f} bits") for part in ordered),
    )
    return (
        "<p>Orange: the answer is less likely without this part. Blue: it is more likely.</p>"
        f'<div style="{_TEXT}">{spans}</div>{table}'
    )


def attention_html(
    attention: Attention, prompt: Sequence[PromptToken], tokens: Sequence[ScoredToken]
) -> str:
    """Write a prompt, coloured by the attention that it got, and a table of the answer's tokens.

    Many models give most of their attention to the first token, whatever it is. So it does not
    count for the strength of the others' colours.
    """
    most = max(attention.mean[1:], default=0.0) or 1.0
    spans = "".join(
        f'<span title="{weight:.1%}" style="background: '
        f'rgba({_ORANGE}, {0.75 * min(1.0, weight / most):.2f})">{_visible(token.text)}</span>'
        for token, weight in list(zip(prompt, attention.mean, strict=True))[:_MOST_SHOWN]
    )
    texts = [token.text for token in tokens]
    # A token of the answer without text has no entry among those with probabilities.
    texts += [""] * (len(attention.tokens) - len(texts))
    rows = (
        (
            str(at),
            _alone(text),
            ", ".join(
                f"{prompt[place].text!r} ({place + 1}) {weight:.1%}" for place, weight in top
            ),
        )
        for at, (text, top) in enumerate(zip(texts, attention.tokens, strict=False), 1)
    )
    table = _table(("place", "token", "tokens of the prompt, their places and weights"), rows)
    heading = f"Attention to the prompt, the mean over {plural(attention.layers, 'layer')}"
    return _block(
        heading,
        "<p>The stronger the colour, the more the answer took from the token. The first token gets "
        "much attention in most models, whatever it is.</p>"
        f'<div style="{_TEXT}">{spans}</div>{_more(len(prompt))}'
        f"{_block('Table of what each token of the answer attended to', table)}",
    )


def _token(token: ScoredToken) -> str:
    faint = 0.0 if token.forced else 0.75 * (1 - token.probability)
    line = "; border-bottom: 2px dotted" if token.forced else ""
    return (
        f'<span title="{_hover(token)}" style="background: rgba({_ORANGE}, {faint:.2f}){line}">'
        f"{_visible(token.text)}</span>"
    )


def _hover(token: ScoredToken) -> str:
    first = f"{token.probability:.1%}"
    if token.forced:
        first += ", forced"
    others = (f"{text!r} {probability:.1%}" for text, probability in token.alternatives)
    return "&#10;".join(safe_attribute(line) for line in (first, *others))


def safe_attribute(text: str) -> str:
    """Escape a text for an attribute, where no element may stand."""
    return "".join(
        character if character.isalnum() or character in " .,%'" else f"&#{ord(character)};"
        for character in text
    )


def _token_table(tokens: Sequence[ScoredToken]) -> str:
    rows = (
        (
            str(at),
            _alone(token.text),
            f"{token.probability:.1%}",
            "" if token.entropy is None else f"{token.entropy:.2f}",
            "forced" if token.forced else "",
            ", ".join(f"{text!r} {p:.1%}" for text, p in token.alternatives),
        )
        for at, token in enumerate(tokens[:_MOST_SHOWN], 1)
    )
    columns = ("place", "token", "probability", "entropy in bits", "by grammar", "most likely")
    return _table(columns, rows)


def _entropy_chart(tokens: Sequence[ScoredToken]) -> str:
    """Draw a bar for the entropy of each token."""
    values = [token.entropy for token in tokens]
    known = [value for value in values if value is not None]
    if not known:
        return ""
    width = max(1.0, min(8.0, 800 / len(values)))
    highest = max(_LEAST_BITS, *known)
    bars = "".join(
        f'<rect x="{at * width:.1f}" y="{_CHART_HEIGHT - height:.1f}" '
        f'width="{max(0.5, width - 1):.1f}" height="{height:.1f}"></rect>'
        for at, value in enumerate(values)
        for height in (_CHART_HEIGHT * (value or 0.0) / highest,)
    )
    heading = (
        f"Entropy of each token: {sum(known) / len(known):.2f} bits on average, "
        f"at most {max(known):.2f}"
    )
    wide = width * len(values)
    return (
        f'<p>{heading}.</p><svg role="img" aria-label="{heading}" width="{wide:.0f}" '
        f'height="{_CHART_HEIGHT}" viewBox="0 0 {wide:.0f} {_CHART_HEIGHT}" '
        f'style="max-width: 100%; fill: rgb({_ORANGE})">{bars}</svg>'
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col"{_LEFT}>{name}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{_LEFT}>{_visible(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _visible(text: str) -> str:
    """Escape a token; show ends of lines and tabs."""
    return safe_html(text.replace("\r", "␍").replace("\n", "⏎\n").replace("\t", "⇥\t"))


def _alone(text: str) -> str:
    """Show a token that stands alone: also spaces, and a token without text."""
    return text.replace(" ", "␣") if text else "∅"


def _block(title: str, content: str, *, is_open: bool = False) -> str:
    state = " open" if is_open else ""
    return f"<details{state}><summary>{safe_html(title)}</summary>{content}</details>"


def _more(count: int) -> str:
    return f"<p>{count - _MOST_SHOWN} more are not shown.</p>" if count > _MOST_SHOWN else ""
