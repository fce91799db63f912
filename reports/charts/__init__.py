"""How numbers are drawn."""
