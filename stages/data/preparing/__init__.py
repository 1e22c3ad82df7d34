"""`stages data`: documents to a prepared corpus, by several processes, in memory that does not grow with it."""
