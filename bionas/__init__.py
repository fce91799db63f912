"""BioNAS as a library: learning rules, networks, training and attacks. Knows nothing of YAML, Snakemake or reports."""

__version__ = "0.1.0"
