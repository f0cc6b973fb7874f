"""Other words for the same things and deeds, for requests that share no word with a tool."""

from __future__ import annotations

from functools import cache
from random import Random

from .words import _list

THINGS = tuple(
    tuple(part.strip() for part in line.split(","))
    for line in _list(
        """
photo, image, snapshot, picture
bill, invoice
car, automobile, vehicle
bike, bicycle
phone, telephone, mobile
house, home, building
shop, store
film, movie
song, track, tune
letter, mail, post
message, text, note
meeting, appointment
doctor, physician
pupil, student
teacher, tutor
job, position, work
worker, employee, staff member
client, customer, buyer
boss, manager
firm, company, business
town, city
street, road
trip, journey, tour
flight, plane ticket
hotel, place to sleep
meal, lunch, dinner
drink, beverage
bag, sack
box, carton
parcel, package
gift, present
sofa, couch
lamp, light
picture book, album
shirt, clothes
coat, jacket
trash, garbage, rubbish
error, mistake, bug
password, secret word
page, sheet
folder, directory
file, document
table, grid of data
column, field
list, collection
group, team
party, celebration
price, cost
sum, total
discount, price cut
wage, salary, pay
loan, borrowed money
book, novel
article, story
journal, magazine
game, match
player, member of the team
weather, climate
rain, bad weather
alarm, wake up call
clock, watch
computer, machine
screen, display, monitor
printer, printing machine
program, software, app
site, website, web page
link, web address
question, query
answer, reply
review, opinion
rule, regulation
contract, deal
licence, permit
medicine, drug
pill, tablet
pain, ache
baby, infant
child, kid
pet, animal at home
plant, flower
garden, yard
tree, oak
sea, ocean
boat, ship
train, railway
ticket, pass
seat, place to sit
door, entrance
key, opener
""",
        "\n",
    )
)
"""Groups of nouns; the words of a group can stand for each other."""

DEEDS: dict[str, tuple[str, ...]] = {
    "repair": ("repair", "fix", "mend"),
    "clean": ("clean", "wash", "scrub"),
    "lock": ("lock", "secure"),
    "watch": ("watch", "keep an eye on", "monitor"),
    "teach": ("teach", "explain"),
    "train": ("train", "coach"),
    "hide": ("hide", "make invisible", "conceal"),
    "reveal": ("reveal", "uncover"),
    "merge": ("merge", "combine", "put together", "join"),
    "split": ("split", "divide", "cut apart"),
    "sort": ("sort", "order", "arrange"),
    "sell": ("sell", "offer for money", "find a buyer for"),
    "rent": ("rent", "hire", "lease"),
    "return": ("return", "give back", "bring back"),
    "move": ("move", "shift", "relocate", "transfer"),
    "lift": ("lift", "raise", "move up"),
    "lower": ("lower", "move down", "bring down"),
    "paint": ("paint", "colour in"),
    "cook": ("cook", "prepare", "make"),
    "heat": ("heat", "warm up"),
    "cool": ("cool", "make colder", "chill"),
    "water": ("water", "give water to"),
    "feed": ("feed", "give food to"),
    "wake": ("wake", "rouse"),
    "invite": ("invite", "ask to come"),
    "greet": ("greet", "say hello to", "welcome"),
    "praise": ("praise", "say something nice about"),
    "rate": ("rate", "give stars to", "judge"),
    "compare": ("compare", "find the difference of"),
    "summarize": ("summarize", "sum up", "shorten"),
    "translate": ("translate", "say in another language"),
    "record": ("record", "make a recording of", "tape"),
    "play": ("play", "put on", "let me hear"),
    "pause": ("pause", "hold", "interrupt"),
    "resume": ("resume", "continue", "go on with"),
    "block": ("block", "ban", "keep out"),
    "allow": ("allow", "permit", "let in"),
    "explain": ("explain", "make clear", "tell me more about"),
    "draw": ("draw", "sketch out", "make a drawing of"),
    "test": ("test", "try", "try out"),
    "build": ("build", "construct", "put up"),
    "break": ("break", "smash"),
    "collect": ("collect", "gather", "pick up"),
    "deliver": ("deliver", "bring", "drop at the door"),
    "donate": ("donate", "give away for free"),
    "charge": ("charge", "load up"),
    "download": ("download", "fetch from the web"),
    "upload": ("upload", "put on the web"),
    "pay": ("pay", "settle", "give money for"),
    "predict": ("predict", "forecast", "tell the future of"),
    "reset": ("reset", "set back", "put back to zero"),
    "restart": ("restart", "start again", "reboot"),
    "pack": ("pack", "put in a box", "wrap"),
    "weigh": ("weigh", "tell the weight of", "how heavy is"),
    "visit": ("visit", "go to see"),
}
"""Phrases for verbs beside those in :mod:`.asking`; the first phrase is the verb itself."""


@cache
def _others() -> dict[str, tuple[str, ...]]:
    return {
        word: tuple(other for other in group if other != word) for group in THINGS for word in group
    }


def other_name(noun: str, rng: Random) -> str | None:
    """Return another word for the noun, or None if none is known."""
    found = others(noun)
    return rng.choice(found) if found else None


def others(noun: str) -> tuple[str, ...]:
    """Return all other words for the noun."""
    return _others().get(noun, ())


def named_things() -> tuple[str, ...]:
    """Return all nouns of one word for which there are other words."""
    return tuple(word for word in _others() if " " not in word)
