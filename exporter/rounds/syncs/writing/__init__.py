"""What a program that syncs writes into its log."""
