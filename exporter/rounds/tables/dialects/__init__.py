"""The SQL of change detection, one small module for each kind of database."""
