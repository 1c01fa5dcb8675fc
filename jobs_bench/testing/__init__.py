"""Conformance kits that any strategy or task can be run through."""

from jobs_bench.testing.strategy_contract import StrategyContract, check_strategy
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench.testing.task_contract import TaskContract, check_task

__all__ = ["StrategyContract", "Synthetic", "TaskContract", "check_strategy", "check_task"]
