"""Words to make names from, and the awkward names every real catalogue has. All invented."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The names in a list parted by bars, or else by spaces."""
    return tuple(text.split("|") if "|" in text else text.split())


AWKWARD_ARTISTS = (
    "Low/High",
    "100% Wool",
    "R.E.S.T.",
    "#9 Lantern",
    "Who Asked?",
    "Tide & Timber",
    "Møltvær",
    "葦の橋",
    "Тихий Причал",
    'Anna "Ember" Quill',
    "O'Sedge",
    "<tangle>",
)
AWKWARD_TITLES = (
    "Low/High",
    "100%",
    "#1 Echo",
    "R.E.S.T.",
    "...",
    "?",
    "50% Off / 50% On",
    "a+b=c",
    "Rain & Rails",
    '"Quoted"',
    "It's Not; It's",
    "<3",
    "C:\\Reed",
    "夜明けの川",
    "Последний паром",
    "نهر الليل",
    "Füßgänger",
    "🌾",
    "semi;colon",
    "%2F",
    "Untitled",
    "Untitled",
    "An Unreasonably Long Title for a Song That Is Mostly About Waiting at the Second Platform of a Small Station",
)
AWKWARD_ALBUMS = ("Either/Or Neither", "+", "100% Live", "B-Sides & Reeds", "風")

FIRST = words(
    "Amber Copper Distant Elder Fallow Gentle Harbour Ivory Juniper Kindling Little Marble Northern Opal "
    "Paper Quiet Russet Silver Timber Velvet Winter Yonder"
)
SECOND = words(
    "Anchors Bridges Cartographers Drifters Engines Foxes Gardens Herons Islands Jetties Kilns Lanterns "
    "Meadows Neighbours Orchards Pilots Quarries Rivers Sailors Tenants Umbrellas Weavers"
)
GIVEN = words("Ada Bram Cleo Dario Edda Faro Greta Hugo Ines Jory Kaja Leif Mira Nils Orla Pavel Runa Sten Tove Vera")
FAMILY = words("Ashby Brook Calder Dunmore Eskil Fenn Garrow Hollin Isken Jarrow Kestle Larkin Marrow Norling Oake")

OPENING = words(
    "After Before Beneath Beyond Counting Crossing Following Leaving Losing Naming Opening Remember Under Without"
)
THING = words(
    "Ashes Bells Candles Daylight Echoes Ferries Glass Harvest Ink Junctions Kites Letters Moss Nettles Orbits "
    "Pebbles Quilts Rain Salt Thunder Vapour Windows Yarn"
)
PLACE = words(
    "at Dawn|by the Weir|for Two|in Amber|in the Attic|of Reeds|on Platform Two|over the Fen|past Midnight|to the Sea"
)

GENRES = ("Ambient", "Folk", "Jazz/Blues", "Drum & Reed", "Lo-Fi", "Chamber", "Synth-Pop", "Dub", "R&B")

MOODS = words(
    "Slow Mornings|Rain on the Skylight|Night Ferry|Focus/Flow|Kitchen Radio|100% Reed|Long Way Home|Sunday Repairs|"
    "Under the Bridge|New This Week|#nofilter|Songs for Herons"
)

EPISODES = words(
    "Why Reeds Hum|The Man Who Tuned Bridges|Recording a River|Three Chords and a Ferry|How a Label Says No|"
    "The Archive in the Attic|Listening/Hearing|Letters from Listeners"
)
