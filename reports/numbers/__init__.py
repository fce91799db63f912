"""What the page says: every number, interval and verdict, from metrics alone; nothing here draws."""
