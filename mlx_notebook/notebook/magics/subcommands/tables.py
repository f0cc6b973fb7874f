"""Tables in the output of `%mlx`: as HTML in a cell, as aligned text elsewhere."""

from collections.abc import Sequence

from mlx_notebook.notebook.escaping import safe_html
from mlx_notebook.notebook.shell import shows_rich_output

# JupyterLab aligns text in tables to the right.
_LEFT = ' style="text-align: left"'


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Show rows, and a note below them."""
    widths = [max(len(row[at]) for row in (columns, *rows)) for at in range(len(columns) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in (columns, *rows)
    ]
    text = "\n".join([*(line.rstrip() for line in lines), *([note] if note else [])])
    if not shows_rich_output():
        print(text)
        return
    from IPython.display import display

    head = "".join(f'<th scope="col"{_LEFT}>{name}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{_LEFT}>{safe_html(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    table = (
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<small>{safe_html(note)}</small>"
    )
    display({"text/plain": text, "text/html": table}, raw=True)  # type: ignore[no-untyped-call]
