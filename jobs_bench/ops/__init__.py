"""Operators with a plain reference and a native fast path."""
