"""Tasks that come with jobs-bench, one a file."""
