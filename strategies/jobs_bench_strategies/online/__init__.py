"""Online data mixing: the mixture changes while one run is trained.

A file has a controller, which the evaluator obeys at the ends of rounds, and the strategy that
trains the default recipe once under it.
"""
