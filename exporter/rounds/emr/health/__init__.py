"""Checks of what the application needs, for the exporter and for the application itself. Standard library only."""
