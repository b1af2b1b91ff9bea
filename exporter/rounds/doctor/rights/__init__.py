"""What the user of a source may do there: what it needs to, and what it could do without."""
