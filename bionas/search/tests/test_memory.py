"""What a search needs of a GPU's memory, counted: it grows as it should, and a cell computed again saves most of it."""

from bionas.search.memory import needed

SPACE = (("fa", "usf", "brsf", "frsf"), "repaired", True)


def test_memory_grows_with_batch_and_pixels_and_shrinks_with_recompute():
    base = needed(SPACE, 3, 10, 16, 8, 5, 4, 64)
    assert 1.9 < needed(SPACE, 3, 10, 16, 8, 5, 4, 128) / base < 2.0  # weights stay
    assert 3.8 < needed(SPACE, 3, 10, 32, 8, 5, 4, 64) / base < 4.0
    assert 0.35 < needed(SPACE, 3, 10, 16, 8, 5, 4, 64, recompute=True) / base < 0.55
