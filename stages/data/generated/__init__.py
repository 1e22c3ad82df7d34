"""Corpora that are made here: from installed packages, arithmetic and scikit-learn's digits."""
