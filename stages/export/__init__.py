"""What leaves a project: folders that transformers and servers load, text that a model writes, outside evaluations."""
