"""``rounds doctor``: examines an installation, and says how to mend it. It knows no domain, and only looks."""
