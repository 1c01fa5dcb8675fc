"""Tables, figures and pages from study folders."""
