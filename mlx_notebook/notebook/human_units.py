"""Format sizes, counts and durations for people."""


def format_bytes(count: float) -> str:
    """Format a number of bytes, for example `1.5 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def plural(number: int, noun: str) -> str:
    """Format a number with a noun whose plural ends in s, for example `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_milliseconds(seconds: float) -> str:
    """Format a short time, for example `42 ms`."""
    return f"{max(1.0, 1000 * seconds):.0f} ms"


def format_duration(seconds: float) -> str:
    """Format a number of seconds, for example `2 min 5 s`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
