"""Arguments of a tool call as an object, for APIs that do not send them as text."""

import jiter


def arguments_of(text: str) -> dict[str, object]:
    """Return the arguments of a call; of an incomplete call those that are complete."""
    if not text:
        return {}
    try:
        value = jiter.from_json(text.encode(), partial_mode="trailing-strings")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
