"""The words of the training text, by kind.

No word also occurs in :mod:`.held_out`; a test checks this.
"""

# Word lists have long lines.
# ruff: noqa: E501

from __future__ import annotations


def _list(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


FIRST_NAMES = _list("""
Anna Ben Clara David Emma Felix Grace Henry Ida Jack Karen Leo Maria Noah Olivia Paul Rosa Sam Tina
Victor Wendy Alice Bob Carol Dave Eve Frank Julia Kim Laura Max Nina Oscar Peter Sarah Tom Lisa Mark
Lucy Adam Ella Simon Zoe Ali Yuki Chen Priya Omar Fatima Ivan Olga Sofia Diego Carlos Mia Ada Alan
Linus James John Mary Robert Linda Susan Joe Kate Amy Dan Eric Hugo Jane Ken Luke Nora Ruth Steve Ursula
""")
LAST_NAMES = _list("""
Smith Jones Miller Brown Taylor Clark Lewis Walker Young Hill Green Baker Carter Cooper Fischer Weber
Rossi Silva Tanaka Kumar Singh Novak Larsen Moreau Garcia Lopez Schmidt Wagner Becker Murphy Turner
""")
CITIES = _list(
    """
Paris; London; Berlin; Rome; Tokyo; Madrid; Vienna; Oslo; Boston; Chicago; Sydney; Cairo; Delhi; Lima;
Seoul; Toronto; Dublin; Zurich; Munich; Hamburg; Milan; Athens; Prague; Warsaw; Moscow; Beijing; Kyoto;
New York; San Francisco; Los Angeles; Hong Kong; Cape Town; Buenos Aires; Mexico City; Amsterdam;
Barcelona; Copenhagen; Stockholm; Geneva; Istanbul; Mumbai; Nairobi; Denver; Seattle; Austin; Miami;
Manchester; Edinburgh; Cologne; Lyon; Porto; Venice; Krakow; Riga; Singapore; Bangkok; Jakarta; Melbourne;
Vancouver; Atlanta; Dallas; Houston; Phoenix; Portland; Brussels; Bern; Basel; Nice; Naples; Turin
""",
    ";",
)
COUNTRIES = _list(
    """
France; Germany; Italy; Spain; Japan; Norway; Sweden; Poland; Brazil; Canada; China; India; Egypt;
Kenya; Mexico; Peru; Greece; Austria; Ireland; Turkey; Chile; Australia; Switzerland; South Korea; Portugal
""",
    ";",
)
COLOURS = _list("""
red blue green yellow black white orange purple pink brown grey gray teal gold silver navy beige
""")
ANIMALS = _list("""
cat dog horse cow sheep goat pig duck hen fox wolf bear lion tiger mouse rabbit fish bird frog snake owl
eagle whale dolphin shark bee ant spider turtle monkey elephant zebra camel deer
""")
FOODS = _list("""
apple bread cheese rice pasta soup salad pizza egg milk tea coffee sugar salt butter honey cake cookie
banana lemon grape tomato potato onion carrot bean corn nut chocolate water juice beer wine chicken beef
pancake sandwich burger curry noodle pepper garlic mushroom spinach
""")
OBJECTS = _list("""
book lamp chair table door window phone laptop camera clock watch bag box bottle cup plate knife fork
spoon key lock wallet umbrella hat shoe shirt coat sock bike car truck bus train boat plane ball bat
guitar piano drum pencil pen paper card letter stamp coin ring mirror carpet sofa bed pillow blanket
candle basket bucket ladder hammer nail screw rope wire pipe battery cable screen keyboard printer
speaker sensor robot motor engine wheel bridge tower garden kitchen bedroom bathroom garage office
""")
ADJECTIVES = _list("""
big small old new red long short fast slow warm cold hot dark bright clean dirty dry wet soft hard light
heavy cheap expensive quiet loud happy sad strong weak rich poor early late open closed full empty simple
fresh sweet sour smart kind brave calm lucky funny tall wide narrow deep flat round sharp strange local
""")
VERBS = _list("""
buy sell call email visit meet clean fix paint wash cook bake read write draw sing play watch check
review update send print copy move carry lift open close start stop plan book order pack water feed walk
train test build design learn study teach practice prepare finish return collect deliver repair replace
""")
TOPICS = _list("""
weather history music science sports travel health politics art math physics chemistry biology medicine
law finance economy energy climate space ocean forest mountain desert river island volcano earthquake
football tennis chess cooking gardening fashion cinema theatre poetry language culture religion
philosophy education school university business marketing insurance software hardware internet security
privacy database network algorithm statistics machine learning robotics vaccine nutrition sleep exercise
""")
LANGUAGES = _list("""
English German French Spanish Italian Japanese Chinese Korean Dutch Polish Russian Arabic Hindi Turkish
Greek Swedish Portuguese Czech Finnish
""")
CURRENCIES = _list("USD EUR GBP JPY CHF CAD AUD SEK NOK INR CNY BRL")
UNITS = _list(
    """
meters; kilometers; miles; feet; inches; grams; kilograms; pounds; ounces; liters; gallons; celsius;
fahrenheit; kelvin; seconds; minutes; hours; days; weeks
""",
    ";",
)
WEEKDAYS = _list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _list(
    "January February March April May June July August September October November December"
)
ROOMS = _list(
    """
kitchen; bedroom; bathroom; living room; garage; office; hallway; garden; basement; attic; hall; study
""",
    ";",
)
DEVICES = _list(
    """
lamp; heater; fan; radio; light; oven; door; alarm; speaker; television; camera; thermostat; fridge
""",
    ";",
)
COLUMNS = _list("""
price age name city date amount score height weight income temperature country year month quantity
category status rating distance duration speed population sales profit cost total count id gender salary
""")
TABLES = _list("""
users orders products customers sales employees events sessions items payments books flights students
""")
FILES = _list("""
report notes data results summary config readme invoice budget letter image photo log backup draft
main test plan schedule train model index list todo
""")
EXTENSIONS = _list("txt csv json pdf png jpg md py html xlsx log yaml")
FOLDERS = _list("docs data home tmp images reports music src build downloads projects backup")
DOMAINS = _list(
    "example.com example.org mail.com test.net company.com work.org home.net school.edu"
)
COMPANIES = _list(
    "Acme Globex Initech Umbrella Apple Google Tesla Amazon Siemens Nokia Sony Intel Nvidia"
)
TICKERS = _list("AAPL GOOG TSLA AMZN MSFT NVDA IBM SAP META INTC")
SONGS = _list(
    """
Yesterday; Hey Jude; Blue Moon; Imagine; Summertime; Silent Night; Let It Be; Moon River; Happy Birthday
""",
    ";",
)
GENRES = _list(
    "jazz rock pop blues folk techno classical comedy drama horror thriller romance fantasy"
)
CONDITIONS = _list(
    """
sunny; cloudy; rainy; windy; foggy; snowy; clear; stormy; partly cloudy; light rain; overcast
""",
    ";",
)
NOUNS = _list("""
account address agent airport alert album answer appliance appointment archive article asset badge bill
block booking branch budget bug building calendar campaign channel chapter chart class client comment
contact contract course deal delivery device discount document domain driver employee entry error event
exam expense factory feature field flight folder form friend game gift goal group guest hotel house
image invoice issue item job journal kit label lead lesson level library license list loan location
lunch machine market meal meeting member memo menu message metric mission model movie note number
offer package page parcel park party patient payment permit pet photo place plant player playlist
policy poll pool post project promotion question queue quiz quote recipe record refund region reminder
rental report request reservation review reward road role room route rule sample schedule season seat
section server service session shift ship shop signal site slot song station stock store story street
student style subscription supplier survey system tag target task tax team template tenant ticket title
token tool topic tour trail transfer trip unit user vehicle vendor venue video vote voucher warehouse
website widget window worker zone
""")
ACTIONS = _list("""
get find show list fetch read check add create make new set update change edit rename delete remove
cancel send share post start stop open close lock book reserve order buy move copy save store load
count measure track search look print export import approve reject assign schedule archive publish
""")
QUALITIES = _list("""
name title text label kind type status owner sender author priority category reason comment note code
key password username message subject body query keyword topic language format colour size shape
material brand model source target origin destination location address street area region country city
date day time start end deadline duration amount price cost total budget fee rate tax count number
quantity limit page year month week hour minute age height width length depth weight distance speed
volume temperature level score rank rating percent index version offset
""")
STATEMENTS = _list(
    """
see you tomorrow; the meeting is moved; dinner is ready; I will be late; thank you for your help;
the report is done; please call me back; happy birthday; the train is late; we won the game;
let us meet at noon; the package arrived; do not forget the keys; the server is down; good luck;
I am on my way; the door is open; lunch is at one; the test passed; your order has shipped
""",
    ";",
)
