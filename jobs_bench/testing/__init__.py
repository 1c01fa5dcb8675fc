"""Conformance kits that any strategy or task can be run through."""
