"""The contract of tasks, and what tasks that fine-tune a model on text are made of."""
