"""What a pipeline writes into its monitoring tables: a set at a time, by the database's clock.

Each function takes a SQLAlchemy Session or Connection first, and commits when it is done, as the functions that it
replaces do. What was not committed before on the same session is committed with it.
"""
