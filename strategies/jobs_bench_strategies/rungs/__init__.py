"""Rung family: one core that decides what runs next, and the samplers that decide what to try."""
