"""Hand-written tools and plain requests for them; only the evaluation uses them."""

# Each case stands on one line.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def function(name: str, description: str, /, **parameters: Any) -> dict[str, Any]:
    """Return a tool.

    A parameter is a Python type, a list of choices, or a pair of a type and a description.
    """
    properties = {}
    for key, kind in parameters.items():
        text = {}
        if isinstance(kind, tuple):
            kind, text["description"] = kind
        if isinstance(kind, list):
            properties[key] = {"type": "string", "enum": kind, **text}
        else:
            properties[key] = {"type": TYPES[kind], **text}
    required = list(parameters)
    schema = {"type": "object", "properties": properties, "required": required}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }


CONDITIONS = function(
    "current_conditions", "Weather conditions at a location", location=(str, "City name")
)
TRAINS = function("find_trains", "Find train connections", departure_city=str, arrival_city=str)
FORWARD = function(
    "forward_mail", "Forward a mail to another address", address=(str, "E-mail address")
)
MINIMUM = function(
    "column_minimum", "Smallest value of a column", column=(str, "Name of the column")
)
DESCRIBE = function("describe_column", "Describe a column of the table", name=str)
MISSING = function("missing_values", "How many values are missing in a column", column=str)
SAVE = function("save", "Save the colour", colour=str)
PAINT = function("paint_wall", "Paint a wall in a color", wall=str, color=str)
HYPOTENUSE = function("hypotenuse", "Length of the hypotenuse", a=float, b=float)
MODULO = function("modulo", "Remainder of a divided by b", a=int, b=int)
CUBE = function("cube", "Cube of a number", n=int)
BLINDS = function("move_blinds", "Move the blinds of a room", room=str, position=["up", "down"])
VACUUM = function("start_vacuum", "Let the robot vacuum a room", room=str)
FIND_BOOK = function("library_search", "Search the library for books by an author", author=str)
LOAN = function("extend_loan", "Extend the loan of a book", book_id=int, days=int)
PARKING = function("parking_fee", "Fee for parking", hours=int)
SUNRISE = function("sunrise_time", "Time of sunrise in a city", city=str)
TRANSCRIBE = function("transcribe_audio", "Transcribe an audio file", path=str)
CROP = function("crop_picture", "Crop a picture", path=str, width=int, height=int)
PING = function("ping_host", "Ping a host", host=str)
RESTART = function("restart_service", "Restart a service on the server", service=str)
GRADES = function("student_grade", "Grade of a student", student=str)
ENROLL = function("enroll_student", "Enroll a student in a course", student=str, course=str)
WATER = function("water_plants", "Water the plants", minutes=int)
TEMPO = function("set_tempo", "Set the tempo of the metronome", bpm=int)
MUTE = function("mute_microphone", "Mute the microphone")
SCREENSHOT = function("take_screenshot", "Take a screenshot")
RATES = function("interest", "Interest on a sum", principal=float, rate=float)
HOROSCOPE = function("horoscope", "Horoscope for a sign", sign=["aries", "taurus", "leo", "virgo"])
VOTE = function("cast_vote", "Vote for a candidate", candidate=str)


def _call(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


CASES: tuple[tuple[tuple[dict[str, Any], ...], str, dict[str, Any]], ...] = (
    ((CONDITIONS,), "What's the weather in Lisbon?", _call("current_conditions", location="Lisbon")),
    ((CONDITIONS, SUNRISE), "Weather in Osaka please", _call("current_conditions", location="Osaka")),
    ((CONDITIONS, SUNRISE), "When does the sun rise in Helsinki?", _call("sunrise_time", city="Helsinki")),
    ((TRAINS,), "Is there a train from Salzburg to Bristol?",
     _call("find_trains", departure_city="Salzburg", arrival_city="Bristol")),
    ((TRAINS, CONDITIONS), "I need a train from Ottawa to Brisbane",
     _call("find_trains", departure_city="Ottawa", arrival_city="Brisbane")),
    ((FORWARD,), "Forward this to yasmin@example.com", _call("forward_mail", address="yasmin@example.com")),
    ((FORWARD, PING, RESTART), "Please forward the mail to otto@work.org", _call("forward_mail", address="otto@work.org")),
    ((DESCRIBE,), "Describe the column revenue", _call("describe_column", name="revenue")),
    ((DESCRIBE, MINIMUM), "Can you describe the humidity column?", _call("describe_column", name="humidity")),
    ((DESCRIBE, MINIMUM, MISSING), "What is the smallest value of mileage?", _call("column_minimum", column="mileage")),
    ((DESCRIBE, MINIMUM, MISSING), "How many values are missing in pressure?", _call("missing_values", column="pressure")),
    ((SAVE,), "Save the colour crimson", _call("save", colour="crimson")),
    ((SAVE,), 'call save with colour "violet"', _call("save", colour="violet")),
    ((SAVE, PAINT), "Paint the left wall turquoise", _call("paint_wall", wall="left", color="turquoise")),
    ((SAVE, PAINT), "My colour is indigo, save it.", _call("save", colour="indigo")),
    ((HYPOTENUSE,), "What is the hypotenuse for 3 and 4?", _call("hypotenuse", a=3, b=4)),
    ((HYPOTENUSE, MODULO), "What is the remainder of 17 divided by 5?", _call("modulo", a=17, b=5)),
    ((CUBE, MODULO, HYPOTENUSE), "What is the cube of 12?", _call("cube", n=12)),
    ((CUBE,), "Give me the cube of 7", _call("cube", n=7)),
    ((BLINDS,), "Move the blinds in the nursery down", _call("move_blinds", room="nursery", position="down")),
    ((BLINDS, VACUUM), "Put the blinds up in the kitchen", _call("move_blinds", room="kitchen", position="up")),
    ((BLINDS, VACUUM), "Vacuum the bedroom", _call("start_vacuum", room="bedroom")),
    ((FIND_BOOK, LOAN), "Search for books by Beatrix", _call("library_search", author="Beatrix")),
    ((FIND_BOOK, LOAN), "Extend the loan of book 881 by 14 days", _call("extend_loan", book_id=881, days=14)),
    ((PARKING,), "How much is parking for 3 hours?", _call("parking_fee", hours=3)),
    ((PARKING, WATER, TEMPO), "Water the plants for 10 minutes", _call("water_plants", minutes=10)),
    ((PARKING, WATER, TEMPO), "Set the tempo to 120", _call("set_tempo", bpm=120)),
    ((TRANSCRIBE,), "Transcribe interview.mp3", _call("transcribe_audio", path="interview.mp3")),
    ((TRANSCRIBE, CROP), "Crop cat.png to 200 by 300", _call("crop_picture", path="cat.png", width=200, height=300)),
    ((PING,), "Ping example.com", _call("ping_host", host="example.com")),
    ((PING, RESTART), "Restart the service nginx", _call("restart_service", service="nginx")),
    ((GRADES, ENROLL), "What is the grade of Quentin?", _call("student_grade", student="Quentin")),
    ((GRADES, ENROLL), "Enroll Wanda in origami", _call("enroll_student", student="Wanda", course="origami")),
    ((MUTE, SCREENSHOT), "Mute the microphone", _call("mute_microphone")),
    ((MUTE, SCREENSHOT, PING), "Take a screenshot, please", _call("take_screenshot")),
    ((RATES,), "What is the interest on 1000 at a rate of 2.5?", _call("interest", principal=1000, rate=2.5)),
    ((HOROSCOPE, VOTE), "Vote for Rashid", _call("cast_vote", candidate="Rashid")),
    ((HOROSCOPE, VOTE), "Horoscope for leo", _call("horoscope", sign="leo")),
    ((CONDITIONS, TRAINS, SUNRISE, PARKING), "How is the weather in Tallinn?", _call("current_conditions", location="Tallinn")),
    ((MINIMUM, PAINT, VACUUM, MODULO), "Minimum of the column latitude", _call("column_minimum", column="latitude")),
)  # fmt: skip
"""Available tools, the user's words, and the right call."""
