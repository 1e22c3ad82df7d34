"""The label that says that a position is not learned from."""

IGNORED = -100
