"""The embedded model and its tasks: no download, seconds a trial."""
