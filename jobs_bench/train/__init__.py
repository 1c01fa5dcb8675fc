"""LoRA training: models with adapters, batches, steps, checkpoints."""
