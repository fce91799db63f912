"""Whether a benchmark's results are good enough: bounds that its definition sets, and an earlier file that it must not fall behind."""
