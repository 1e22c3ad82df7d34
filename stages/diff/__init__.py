"""What changed, in meaning: between two revisions of the specs, and between two runs."""
