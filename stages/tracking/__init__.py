"""Metrics as they come into TensorBoard, Weights & Biases and MLflow, by processes that no run waits for."""
