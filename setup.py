"""Build the native extension; everything else is declared in pyproject.toml."""

from setuptools import setup

setup()
