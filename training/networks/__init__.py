"""Keras networks, their batches, and the training loop. `training.export` converts the models to TFLite."""
