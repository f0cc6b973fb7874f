"""Twenty requests in plain English for tools of daily life; only the evaluation uses them.

The list was written before the training that it measures, and does not change.
"""

# Each case stands on one line.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

from .foreign import _call, function

TIDES = function("tide_times", "Times of high and low tide at a harbour", harbour=str)
VISA = function("visa_needed", "Tell whether a visa is needed to enter a country", country=str)
BATH = function("fill_bath", "Fill the bath with water", litres=int)
DISHES = function("start_dishwasher", "Start the dishwasher", program=["eco", "quick", "intensive"])
POSTCODE = function("postcode_of", "Postcode of a town", town=str)
GARAGE = function("open_garage", "Open the garage door")
SHARPEN = function("sharpen_photo", "Sharpen a photo", path=str, strength=int)
BIN = function("which_bin", "Which bin a piece of waste goes into", item=str)
PHARMACY = function("find_pharmacy", "Find a pharmacy in a district", district=str)
POTHOLE = function("report_pothole", "Report a hole in a street", street=str, depth_cm=int)
SEAT = function("change_seat", "Change the seat of a booking", booking=str, seat=int)
TRANSPOSE = function("transpose_song", "Transpose a song by semitones", title=str, semitones=int)
VOLCANO = function("volcano_alert", "How dangerous a volcano is now", volcano=str)
TREE = function("plant_tree", "Plant a tree in a park", kind=str, park=str)
MOON = function("moon_phase", "Phase of the moon on a date", date=str)
CANOE = function("hire_canoe", "Hire a canoe at a lake", lake=str, hours=int)
NEWSLETTER = function("unsubscribe", "Stop a newsletter", newsletter=str)
CHARGE = function("charge_car", "Charge the electric car up to a percentage", percent=int)
FRAME = function("frame_poster", "Frame a poster", poster=str, wood=["oak", "pine"])
FUEL = function("fuel_price", "Price of fuel in a city", city=str)

CASES: tuple[tuple[tuple[dict[str, Any], ...], str, dict[str, Any]], ...] = (
    ((TIDES, VOLCANO), "When is high tide in Plymouth?", _call("tide_times", harbour="Plymouth")),
    ((VISA, POSTCODE, FUEL), "Do I need a visa for Vietnam?", _call("visa_needed", country="Vietnam")),
    ((BATH, DISHES), "Fill the bath with 90 litres", _call("fill_bath", litres=90)),
    ((DISHES, GARAGE, CHARGE), "Run the dishwasher on eco", _call("start_dishwasher", program="eco")),
    ((POSTCODE,), "What is the postcode of Keswick?", _call("postcode_of", town="Keswick")),
    ((GARAGE, BATH, DISHES), "Open the garage, please", _call("open_garage")),
    ((SHARPEN, FRAME), "Sharpen beach.jpg with strength 3", _call("sharpen_photo", path="beach.jpg", strength=3)),
    ((BIN, BATH), "Which bin does cardboard go into?", _call("which_bin", item="cardboard")),
    ((PHARMACY, POSTCODE, FUEL, VISA), "Where is a pharmacy in Camden?", _call("find_pharmacy", district="Camden")),
    ((POTHOLE,), "Report a hole in Baker Street, 12 cm deep", _call("report_pothole", street="Baker Street", depth_cm=12)),
    ((SEAT, CANOE), "Change booking KL220 to seat 14", _call("change_seat", booking="KL220", seat=14)),
    ((TRANSPOSE, SHARPEN, FRAME), 'Transpose "Greensleeves" by 3 semitones', _call("transpose_song", title="Greensleeves", semitones=3)),
    ((VOLCANO, TIDES, MOON), "Is the volcano Etna dangerous today?", _call("volcano_alert", volcano="Etna")),
    ((TREE, FRAME), "Plant a birch in Hyde Park", _call("plant_tree", kind="birch", park="Hyde Park")),
    ((MOON, TIDES), "Which phase does the moon have on 2026-05-01?", _call("moon_phase", date="2026-05-01")),
    ((CANOE, CHARGE), "I want to rent a canoe at Windermere for 2 hours", _call("hire_canoe", lake="Windermere", hours=2)),
    ((NEWSLETTER, SEAT, TREE), "Stop sending me the newsletter Daily Digest", _call("unsubscribe", newsletter="Daily Digest")),
    ((CHARGE, FUEL, GARAGE), "Charge the car to 80 percent", _call("charge_car", percent=80)),
    ((FRAME, SHARPEN, TREE), "Frame the poster Sunflowers in oak", _call("frame_poster", poster="Sunflowers", wood="oak")),
    ((FUEL, VISA), "What does fuel cost in Leeds?", _call("fuel_price", city="Leeds")),
)  # fmt: skip
"""Available tools, the user's words, and the right call."""
