"""What BioNAS has to know of a data set, an attack and a search method before anything runs. Imports no torch."""

from bionas.entries import Attack, DataSet, Searcher

SHAPES = DataSet("bionas_example.shapes:prepare", train=240, test=60, channels=1, side=8, classes=3)

STARTS = Attack(
    "bionas_example.attacks:Starts",
    norm="linf",
    source="Tramèr et al. 2018, from several starts",
    standard={"eps": 8 / 255, "alpha": 4 / 255, "starts": 4},
    kinds={"starts": int},
)

CLIMB = Searcher(
    "bionas_example.search",
    ("candidates", "patience"),  # the first one is random search's, too
    mixes=False,
    schema={"patience": {"type": "integer", "minimum": 1, "default": 10, "description": "Candidates in a row that may be no better."}},
)
