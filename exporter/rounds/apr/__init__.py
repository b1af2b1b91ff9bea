"""The monitoring tables of a proposal pipeline: what they say, and what the pipeline writes into them."""
