"""The suites that ship with the tasks: ``dev`` (tuning allowed), ``test`` (reported), ``smoke``."""
