"""What a run read at any step, and whether it computed what it says: answers from specs, corpora and results."""
