"""A family of problems with a known optimum and dials, thousands of trials a second."""
