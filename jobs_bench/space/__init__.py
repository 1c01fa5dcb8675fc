"""Typed search spaces in blocks: the data mixture, the model configuration, the training recipe."""
