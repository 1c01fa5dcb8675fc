"""Tasks that replay recorded tables."""
