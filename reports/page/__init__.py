"""The page: its templates, style and script."""
