"""The contract of strategies, and the history they decide from."""
