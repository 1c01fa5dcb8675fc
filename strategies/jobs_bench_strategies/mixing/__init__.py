"""Data-mixing methods: they choose the mixture and keep the default recipe for the rest."""
