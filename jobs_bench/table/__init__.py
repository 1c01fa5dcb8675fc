"""Recorded tables: their format, how they are made and checked, and the tasks that replay them."""
