"""The report: one folder of static pages, without scripts and without a network, from what runs left on disk."""
