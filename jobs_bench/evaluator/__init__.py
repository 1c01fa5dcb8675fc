"""The shared evaluator: segments in, outcomes out; the only caller of training."""
