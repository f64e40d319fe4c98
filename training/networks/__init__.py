"""Keras networks, the batches they learn from, and the loop that trains them.

Networks leave here as Keras models; `training.export` makes TFLite of them.
"""
