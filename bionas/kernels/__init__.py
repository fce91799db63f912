"""The same mathematics laid out for speed: convs of many layers at once, and single convs for which torch is slow."""
