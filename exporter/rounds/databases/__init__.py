"""Sessions with the configured sources: opened for a run, pinned to read, counted, and closed after it."""
