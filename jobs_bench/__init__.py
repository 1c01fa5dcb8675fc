"""Referee for strategies that choose a data mixture and a LoRA configuration together."""
