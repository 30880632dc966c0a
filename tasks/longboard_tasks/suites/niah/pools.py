"""Words, keys, names and places for `niah@1`: all of them ours or from public-domain text. Standard library only.

RULER draws from the wonderwords package, whose lists change with its version. A pool is part of the suite's version here:
a changed word is a new version.
"""

# ruff: noqa: SIM905 (word lists read better as text)

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from uuid import UUID

ADJECTIVES = tuple(
    """
    able agile airy alert amber ample ancient antique arctic ardent arid ashen aware azure balmy bashful beige biting bitter
    blank bleak blithe blond blunt bold bony brave breezy brief bright brisk broad bronze brown bubbly bumpy burly busy calm
    candid careful casual cheerful chilly chunky civil classy clean clear clever cloudy clumsy coarse cobalt cold comfy common
    compact content cool coral cosy covert cozy crafty cranky creamy crimson crisp cubic curious curly curved dainty damp dapper
    daring dark dawning deep deft dense devout dim direct dizzy dormant dotted double downy drab dreamy dry dual dusky dusty
    dutiful eager early earnest earthy easy ebony edgy elated elder elegant emerald eminent empty enough epic equal eternal even
    exact exotic expert fabled faded faint fair famous fancy fast feisty fertile festive fickle fiery final fine firm fit flaky
    flat fleet floral fluent fluffy focal fond formal frail frank free fresh frosty frugal full funny fuzzy gallant gaudy genial
    gentle giant giddy gilded glad glassy gleaming global glossy golden gothic grand grassy grave gray great green grim gritty
    gruff gusty handy happy hardy hasty hazel hazy hearty heavy hidden hilly hollow honest hopeful hourly huge humble humid husky
    icy ideal idle immense indigo inner intact ionic ivory jade jagged jaunty jazzy jolly jovial joyful jumbo keen khaki kind
    knotty lanky large late lavish lawful leafy lean learned level light lilac limber lime lively local lofty lone long loud
    loyal lucid lucky lunar lush magenta main major maroon mellow merry mighty mild minor minty misty mobile modern modest moist
    mossy muddy mural murky mustard muted narrow nautical navy near neat nimble noble nomadic normal northern novel oaken oblong
    obvious ochre olive opal open optimal orange orderly ornate oval pale pastel patient peachy pearly perky petite placid plain
    playful plucky plump plush poetic poised polar polite posh potent precise prime primal private prompt proper proud pure purple
    quaint quick quiet radiant rapid rare raspy ready regal remote rich rigid ripe robust rocky rosy rough round royal rugged
    rural rustic rusty sable salty sandy satin savvy scarlet scenic secret sedate serene shady shallow sharp shiny short shrewd
    shy silent silky silver simple sincere sleek slender slim slow sly small smart smoky smooth snappy snowy sober social soft
    solar solemn solid sonic sooty sour spare spicy spiral spotted spry square stable stark steady steep stern still stony stout
    striped strong sturdy subtle sunny superb supple sweet swift tacit tall tame tangy tart tawny teal tender tepid thick thin
    thorny tidal tidy timid tiny topaz tough tranquil trim tropic true trusty tubular twin upbeat upper urban useful vague valid
    vast velvet verdant vibrant violet vital vivid vocal warm wary wavy weary western whimsical white wide wild windy winged wiry
    wise wispy witty wooden woolly worthy young zany zealous zesty
    """.split()
)  # fmt: skip
NOUNS = tuple(
    """
    abacus acorn acrobat airship album alcove almond alpaca anchor antler anvil apple apricot apron arcade arch archer armchair
    arrow artist atlas attic avocado axle badge badger bagel bakery ballad balloon bamboo banana banjo banner barley barn baron
    barrel basil basin basket bassoon beacon beaker bean bear beaver beetle bell belt bench berry bicycle binder birch biscuit
    bison blanket blazer blossom boat bobbin bonfire bonnet book boot bottle boulder bowl bracelet bramble branch bread brick
    bridge brook broom brush bucket buckle bugle bulb bundle bungalow burrow butler butter button cabbage cabin cactus cake camel
    camera canal canary candle cannon canoe canvas canyon cape captain caravan carpet carrot cart cashew castle catalog cathedral
    cavern cedar cello chalk chapel chariot cheese cherry chest chestnut chimney chisel choir cider cinema circuit circus citrus
    clarinet cliff clock clover coat cobbler coconut coffee collar comet compass conch condor copper cork cottage cotton cougar
    courier cradle crane crater crayon cricket crocus crown crystal cuckoo cupboard curtain cushion cymbal cypress daffodil dagger
    dahlia daisy dancer desert desk dial diamond dinghy dolphin donkey door dragon drawer dresser drum duchess duck dune eagle
    easel echo eclipse elbow elephant elevator elm ember emu engine envelope estuary fabric falcon farmer feather fence fern
    ferret ferry fiddle field fig finch fjord flagon flannel flask fleece flute foal forest forge fork fortress fossil fountain
    fox fridge frigate fringe frog funnel galaxy galleon garden garlic garnet gate gazebo gazelle gecko geyser ginger giraffe
    glacier glider globe glove goblet gondola goose gorge gourd granite grape gravel griffin grotto guitar gull hammer hammock
    hamster harbor harness harp harvest hatchet haven hawk hazelnut heather hedge helmet heron hill hinge hippo hive honey hoof
    horizon hornet horse hotel hourglass husk hut hyacinth ibis iceberg igloo inkwell insect iris island jackal jacket jaguar jam
    jar jasmine jelly jersey jewel jigsaw jug juniper kayak kernel kettle keyboard kiln kingdom kite kitten kiwi knapsack knight
    koala lace ladder ladle lagoon lake lamp lantern lark lasso lattice lava lavender leaf ledger lemon lemur lentil leopard
    lettuce library lichen lighthouse lily linen lizard llama lobster locket log loom lotus lumber lute lynx macaw magnet magnolia
    mallet mandolin mango mansion mantle maple marble market marmot marsh mask meadow medal melon mermaid meteor mill mint mirror
    mitten moat mole monarch monkey moon moose mosaic moss moth mountain muffin mug mulberry museum mushroom mussel napkin nebula
    necklace needle nest nettle newt nickel nimbus notebook nugget nutmeg oak oar oasis oboe ocean octopus olive onion opal opera
    orbit orchard orchid organ osprey ostrich otter oven owl oyster paddle pagoda palace palette pancake panda panther papaya
    paper parade parasol parcel parrot parsley pasture patio pavilion peach peacock pear pebble pelican pencil pendant penguin
    pepper piano pickle pigeon pillar pillow pilot pine pinecone pirate pistachio planet plate plaza plum pocket pond pony poplar
    poppy porch portal portrait potato potter prairie prism puddle puffin pulley pumpkin puppet puzzle pyramid quail quarry quartz
    quill quilt quiver rabbit raccoon radish raft rainbow raisin rake ranch raven reed reef ribbon riddle ridge ring river road
    robin rocket rooster rope rose ruby rudder rug saddle saffron sail salad salmon sandal sapling sapphire satchel saucer savanna
    scarf scepter school scooter scroll seal seashell shawl sheep shelf shelter shield ship shovel shrub silo skate sketch sled
    sloth snail sofa sparrow spear spider spindle spinach spoon spring spruce squash squid squirrel stable stadium stairway statue
    steeple stork stove stream sundial sunset swallow swan sweater sycamore table tablet tackle tadpole tailor tambourine tandem
    tapestry tavern teapot telescope temple tent terrace thicket thimble thistle throne thunder ticket tiger timber toad toast
    tomato torch tortoise toucan tower tractor trail trellis triangle trident trinket trolley trombone trophy trout trumpet trunk
    tulip tundra tunnel turbine turnip turquoise turret turtle tweed umbrella unicorn urchin valley vase vault vessel viaduct
    village vine viola violin volcano voyage vulture wagon walnut walrus waltz warbler wardrobe waterfall weasel wharf wheat wheel
    whistle widget wigwam willow windmill window wizard wombat wood workshop wreath wren yacht yak yarn yogurt zebra zeppelin
    zinnia zipper
    """.split()
)  # fmt: skip
# Of `grid` and `streamed`: no word of these three is in our prose, and each stands in one slot only.
ACTIVITIES = tuple(
    """
    tango yodel hopscotch snorkel photograph karaoke limbo somersault breakdance windsurf skydive kickbox crochet paraglide
    skateboard rollerblade babysit moonwalk headbang jaywalk
    """.split()
)
FOODS = tuple(
    """
    lasagna pancake waffle burrito falafel milkshake espresso cappuccino croissant pretzel noodle sushi popcorn brownie pizza
    kebab risotto guacamole tiramisu meatball
    """.split()
)
VENUES = tuple(
    """
    planetarium aquarium velodrome helipad carousel skyscraper escalator stadium supermarket laundromat boathouse airport cinema
    funfair bandstand heliport nightclub speedway trampoline microbrewery
    """.split()
)
PLACES = tuple(
    """
    Accra Adelaide Algiers Ankara Antwerp Asuncion Auckland Baku Baltimore Bamako Barcelona Basel Beirut Belfast Belgrade Bergen
    Bilbao Birmingham Bologna Bonn Bordeaux Boston Bratislava Bremen Brisbane Bristol Bucharest Calgary Canberra Caracas Cardiff
    Casablanca Chennai Cologne Colombo Cordoba Cork Cusco Dallas Damascus Darwin Delhi Denver Detroit Dhaka Doha Dortmund Dresden
    Dubai Durban Edinburgh Edmonton Essen Florence Frankfurt Fukuoka Gdansk Geelong Genoa Ghent Glasgow Gothenburg Granada Graz
    Grenoble Hamburg Hanover Harare Hobart Houston Innsbruck Jaipur Kampala Karachi Kathmandu Khartoum Kigali Kingston Kobe
    Kolkata Krakow Kyoto Lahore Lausanne Leeds Leipzig Leon Leuven Lille Linz Liverpool Ljubljana Lusaka Luxor Lyon Malaga Malmo
    Manaus Manchester Maputo Marseille Medellin Memphis Miami Milan Minsk Mombasa Monterrey Montevideo Munich Muscat Nagoya
    Nantes Naples Nashville Newcastle Nicosia Odense Omaha Orlando Osaka Ottawa Palermo Panama Perth Phoenix Pisa Pittsburgh
    Porto Portland Potsdam Pune Quebec Rabat Reykjavik Riga Rosario Rotterdam Sacramento Salzburg Sapporo Sarajevo Seattle
    Seville Sheffield Skopje Sofia Split Stuttgart Sucre Suva Taipei Tallinn Tampa Tbilisi Tirana Trieste Tripoli Tunis Turin
    Utrecht Valencia Valparaiso Vancouver Venice Verona Vilnius Wellington Winnipeg Wuppertal Yerevan Zagreb Zurich
    """.split()
)  # fmt: skip
_SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")


@cache
def list_words() -> tuple[str, ...]:
    """4,096 English words of 4 to 8 letters, none inside another, from Moby-Dick and State of the Union speeches.

    Public domain; the most frequent ones after the first 150. So containment never credits a word for being part of another.
    """
    return tuple(Path(__file__).with_name("list_words.txt").read_text(encoding="utf-8").split())


def coin_words() -> Iterator[str]:
    """Distinct made-up words of three syllables (343,000 exist), none of them a list word; the same ones in every sample."""
    rng, known = Random("niah/cwe/coined@1"), set(list_words())
    while True:
        word = "".join(rng.choices(_SYLLABLES, k=3))
        if word not in known:
            known.add(word)
            yield word


def name(serial: int) -> str:
    """A capitalised name of four syllables; different serials below 24 million have different names."""
    rest, syllables = serial * 9_876_543 % len(_SYLLABLES) ** 4, []  # the factor shares no divisor with 70**4
    for _ in range(4):
        rest, place = divmod(rest, len(_SYLLABLES))
        syllables.append(_SYLLABLES[place])
    return "".join(syllables).capitalize()


def draw_key(rng: Random, kind: str) -> str:
    """One of `words` (adjective-noun), `numbers` (7 digits, the first one not 0) or `uuids` (version 4), as RULER's knobs."""
    if kind == "words":
        return f"{ADJECTIVES[int(rng.random() * len(ADJECTIVES))]}-{NOUNS[int(rng.random() * len(NOUNS))]}"
    if kind == "numbers":
        return str(10**6 + int(rng.random() * 9 * 10**6))
    return str(UUID(int=rng.getrandbits(128), version=4))


def draw_distinct(rng: Random, kind: str, count: int) -> list[str]:
    drawn = dict[str, None]()
    while len(drawn) < count:
        drawn[draw_key(rng, kind)] = None
    return list(drawn)
