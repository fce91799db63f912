"""Search methods: a supernet, two halves of the training split and settings → a genotype and a trace of how it came about."""
