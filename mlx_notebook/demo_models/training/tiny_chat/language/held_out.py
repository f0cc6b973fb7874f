"""Words and phrases that only the evaluation uses; no training text contains them."""

# Word lists have long lines.
# ruff: noqa: E501

from __future__ import annotations

from .words import _list

FIRST_NAMES = _list("Gustav Beatrix Marlon Yasmin Otto Philippa Rashid Ingrid Quentin Wanda")
CITIES = _list(
    """
Lisbon; Helsinki; Santiago; Bogota; Hanoi; Reykjavik; Salzburg; Ottawa; Brisbane; Casablanca; Tallinn;
Osaka; Bristol; Nashville; Las Vegas; Rio de Janeiro
""",
    ";",
)
COLOURS = _list("violet turquoise crimson magenta indigo maroon")
ANIMALS = _list("hamster penguin giraffe squirrel parrot lizard hedgehog otter")
FOODS = _list("mango pumpkin yogurt waffle lentil avocado cinnamon raspberry")
OBJECTS = _list("trumpet backpack telescope scarf helmet drawer vase kettle shovel compass")
ADJECTIVES = _list("gentle rusty fancy wooden ancient shiny noisy clumsy")
TOPICS = _list("""
astronomy archaeology sculpture glaciers beekeeping origami tsunami ballet geology democracy
""")
COLUMNS = _list("humidity revenue latitude pressure mileage occupation")
TABLES = _list("suppliers inspections shipments")
FILES = _list("thesis manual diary ledger receipt agreement")
ROOMS = _list("laundry; nursery; cellar; balcony", ";")
NOUNS = _list("""
aquarium bakery cabin canvas cargo cheque clinic costume crate dentist engraving ferry fountain greenhouse
harvest lantern locker mailbox orchard pendant puzzle quilt satellite sketch
stadium tractor trophy tunnel vineyard workshop
""")
ACTIONS = _list("inspect scan submit dispatch retrieve configure renew repay inflate calibrate")
QUALITIES = _list("""
nickname motto texture flavour thickness capacity altitude frequency quota voltage surname
audience horsepower mileage tonnage wavelength caption
""")

SAID: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "take a close look at"),
    "scan": ("scan", "run a scan of"),
    "submit": ("submit", "hand in"),
    "dispatch": ("dispatch", "ship off"),
    "retrieve": ("retrieve", "dig out"),
    "configure": ("configure", "tune"),
    "renew": ("renew", "extend"),
    "repay": ("repay", "pay back"),
    "inflate": ("inflate", "blow up"),
    "calibrate": ("calibrate", "align"),
}
SLOTS = (
    "its {q} being {v}", "let the {q} be {v}", "{v} for the {q}", "having {q} {v}", "take {v} as its {q}",
    "give it the {q} {v}", "for {q} put {v}",
)  # fmt: skip
CHAT: dict[str, tuple[str, ...]] = {
    "Hello.": ("hey hey", "good day", "hi, anyone home"),
    "Fine.": ("how are you this morning", "how do you do", "are you feeling well"),
    "Model.": ("who is this", "what are you exactly", "could you introduce yourself"),
    "Tools.": (
        "what kind of things can you do",
        "tell me your skills",
        "in which ways can you help me",
    ),
    "%mlx": (
        "how would I load some other model",
        "what is the command for loading a model",
        "I need a larger model",
    ),
    "Bye.": ("goodbye for now", "see you soon", "good bye my friend"),
    "Welcome.": ("thank you, that is great", "thanks so much", "thank you kindly"),
    "No.": ("are you a human being", "do you have any feelings", "are you an actual person"),
    "Small.": ("how many parameters have you got", "what size are you"),
    "MLX.": ("what do you run on here", "on what do you run"),
    "Scripts.": ("who has made you", "how did they train you"),
    "Joke.": ("tell me one joke", "please tell me something funny"),
    "Yes.": ("can you call a function", "can you use my tools"),
}
"""New phrases for which chat.txt has answers, by the answer in one word."""
