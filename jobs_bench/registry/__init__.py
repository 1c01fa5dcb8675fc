"""Plug-ins by entry point: listing without importing, loading by name."""
