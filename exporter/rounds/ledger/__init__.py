"""What lasts: one database in which everything that a run changes is changed in one transaction."""
