"""Conformance kits that any strategy or task can be run through."""

from jobs_bench.testing.strategy_contract import StrategyContract, check_strategy
from jobs_bench.testing.synthetic import Synthetic

__all__ = ["StrategyContract", "Synthetic", "check_strategy"]
