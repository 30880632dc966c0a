"""144,384 names for phone books: common given names, and surnames put together from two parts. Standard library only."""

from __future__ import annotations

_GIVEN = (
    "Ada Adam Agnes Alan Albert Alice Alma Amos Amy Andrew Anna Arthur Beth Blanche Boris Bruno Carl Cecil Clara Colin Cora "
    "Cyril Dale Dora Doris Edgar Edith Edwin Elena Elias Ella Ellen Elsa Emma Enid Erik Esther Ethel Eva Felix Flora Floyd "
    "Frank Frida Gerald Gina Grace Greta Gus Hanna Harold Harry Hazel Helen Henry Hilda Hugo Ida Igor Irene Iris Ivan Jack "
    "Jane Jasper Joan Joel Jonas Josef Karen Kurt Laura Lena Leo Lewis Linda Louis Lucy Lydia Mabel Marcel Maria Martin Max "
    "Milo Nancy Nora Olga Oscar Otto Paul Peter Petra Ralph"
)
_STARTS = (
    "Al Ash Bar Beck Birch Black Brad Bran Brook Burn Carl Clay Cliff Cole Cran Crow Dal Den Dun East Elm Fair Farn Glen "
    "Gold Green Hal Hart Hazel Hol Kings Lang Lin Mar Mel Mil Nor Oak Pem Pres Red Ros Shel Stan Thorn Wal West Win"
)
_ENDS = (
    "bourne bridge brook burn bury by combe cott croft dale den don field ford gate ham hurst land ley low man mere more "
    "ridge shaw ster stead stone ton well wick worth"
)
GIVEN = tuple(_GIVEN.split())
SURNAMES = tuple(start + end for start in _STARTS.split() for end in _ENDS.split())
COUNT = len(GIVEN) * len(SURNAMES)


def full_name(number: int) -> str:
    """Name `number`, 0 to COUNT - 1; no two are equal."""
    given, surname = divmod(number, len(SURNAMES))
    return f"{GIVEN[given]} {SURNAMES[surname]}"
