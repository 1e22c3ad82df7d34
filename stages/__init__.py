"""Stages: train language models in several stages, with every hand-over checked."""

__version__ = "0.1.0"
