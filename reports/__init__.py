"""metrics.h5 → one self-contained HTML file. Reads only the store."""
