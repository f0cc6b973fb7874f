"""Generate tools that take what an image shows as arguments, and requests to call them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx_notebook.demo_models.training.tiny_chat.tools.tool import Parameter, Request, Tool
from mlx_notebook.demo_models.training.tiny_vision.pictures.scenes import Scene

VERBS = (
    "save", "store", "record", "log", "report", "submit", "note", "set", "mark", "add", "write",
    "register", "label", "tag", "keep", "send", "put", "remember", "file", "enter",
)  # fmt: skip
HELD_OUT_VERBS = ("archive", "publish", "track", "insert", "memorise")
NOUNS = ("finding", "picture", "item", "entry", "result", "data", "observation", "thing", "detail")
NAMES: dict[str, tuple[str, ...]] = {
    "colour": ("colour", "colour", "color", "color", "colour_name", "main_color", "hue"),
    "shape": ("shape", "shape", "form", "shape_name", "figure", "kind"),
    "count": ("count", "count", "amount", "how_many", "number_of_shapes", "total"),
    "number": ("number", "number", "digits", "value", "reading", "printed_number"),
    "background": ("background", "background_color", "background_colour"),
}
_TOLD = {
    "colour": ("The colour.", "Colour of the shape.", "Color of the shape in the picture."),
    "shape": ("The shape.", "Name of the shape.", "Which shape it is."),
    "count": ("How many shapes there are.", "Number of shapes.", "The count of shapes."),
    "number": ("The printed number.", "The number in the picture.", "The digits."),
    "background": ("Colour of the background.", "The background."),
}
_MEANT = {
    "colour": "colour", "shape": "shape", "count": "number of shapes", "number": "number",
    "background": "background colour",
}  # fmt: skip


@dataclass
class Seen:
    """What a tool can save about a scene: argument kinds with their values, and their subject."""

    values: dict[str, Any]
    subject: str


def what_to_save(scene: Scene, rng: random.Random) -> Seen | None:
    """Return the argument kinds that the scene answers clearly, and their values."""
    shapes = scene.shapes
    if len(scene.numbers) == 1 and not shapes:
        number = scene.numbers[0]
        return Seen({"number": number.text, "colour": number.colour}, "the number")
    if len(shapes) == 1 and not scene.numbers:
        only = shapes[0]
        values = {"colour": only.colour, "shape": only.shape}
        if rng.random() < 0.3:
            values["background"] = scene.background
        return Seen(values, "the shape")
    if len(scene.numbers) == 1 and len(shapes) == 1:
        return Seen({"number": scene.numbers[0].text, "shape": shapes[0].shape}, "")
    if not scene.numbers and rng.random() < 0.6:
        return Seen({"count": len(shapes)}, "")
    alone = [t for t in shapes if [o.shape for o in shapes].count(t.shape) == 1]
    if alone:
        thing = rng.choice(alone)
        return Seen({"colour": thing.colour}, f"the {thing.shape}")
    return Seen({"count": len(shapes)}, "") if not scene.numbers else None


def make(
    scene: Scene, rng: random.Random, verbs: Sequence[str] = VERBS
) -> tuple[Tool, Request] | None:
    """Return a new tool, and a request to call it with what `scene` shows."""
    seen = what_to_save(scene, rng)
    if seen is None:
        return None
    kinds = rng.sample(sorted(seen.values), rng.randint(1, min(2, len(seen.values))))
    verb = rng.choice(verbs)
    noun = _MEANT[kinds[0]].split()[0] if rng.random() < 0.6 else rng.choice(NOUNS)
    name = verb if rng.random() < 0.3 else f"{verb}_{noun}"
    parameters, arguments = [], {}
    for kind in kinds:
        key = rng.choice(NAMES[kind])
        value = seen.values[kind]
        if kind == "number" and rng.random() < 0.6:
            value = int(value)
        whole = isinstance(value, int)
        told = rng.choice(_TOLD[kind]) if rng.random() < 0.6 else ""
        parameters.append(Parameter(key, "int" if whole else "word", told))
        arguments[key] = value
    does = " and ".join(_MEANT[kind] for kind in kinds)
    about = f"{verb.title()} the {does}." if rng.random() < 0.7 else f"{verb.title()} what is seen."
    tool = Tool(name, about if rng.random() < 0.85 else "", parameters)
    said = _said(tool, list(arguments), does, seen.subject, rng)
    return tool, Request(tool, arguments, said)


def _said(tool: Tool, keys: list[str], does: str, subject: str, rng: random.Random) -> str:
    of = f" of {subject}" if subject and "number" not in subject and "shape" not in does else ""
    if subject not in ("", "the shape", "the number"):
        of = f" of {subject}"
    gaps = ", ".join(f"{key}=..." for key in keys)
    called = rng.choice((tool.name, f"`{tool.name}`"))
    written = rng.choice(
        (
            f"{tool.name}({gaps})",
            f"`{tool.name}({gaps})`",
            f"`{tool.name}({gaps.replace('...', '…')})`",
        )
    )
    plain = of == "" or of in (" of the shape", " of the number")
    forms = [
        f"Call {called} with the {does}{of}.",
        f"Call {called} with the {does}{of} you see.",
        f"Use {called} for the {does}{of}.",
        f"Use {called} to save the {does}{of} in the picture.",
        f"Please {tool.name.split('_')[0]} the {does}{of}.",
        f"{tool.name.split('_')[0].title()} the {does}{of}.",
        f"Call {written} with the {does}{of}.",
    ]
    if plain:
        forms += [
            f"Call {written} with what you see.",
            f"Call {called} with what you see.",
            f"Call {written} for this picture.",
            f"Look at the picture and call {called}.",
            f"Use {called} on what you see.",
        ]
    return rng.choice(forms)
