"""Watched tables: which rows were inserted, deleted and modified since the last check, exactly."""
