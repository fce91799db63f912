"""How a definition is run: checked, planned, executed, stored, collected and checked. The driver half imports no torch."""
