"""Modelling code that goes out with an export of a model that transformers has no class for.

Each file is copied into the folder as it stands, and runs where nothing of this project is installed: it imports torch
and transformers (4.57 and 5), and the files beside it. The computation is that of stages/models.
"""
