"""What a store says of the last hours or days, as the existing program shows it. Standard library only."""
