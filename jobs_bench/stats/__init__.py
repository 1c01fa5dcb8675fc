"""Statistics of comparisons: pure functions of arrays and frames; no file is read here.

Every definition stands in ``docs/scoring.md`` with a worked example that is a test.
"""
