"""One of each kind that can be added to BioNAS from outside."""
