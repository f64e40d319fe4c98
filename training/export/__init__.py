"""From Keras to TFLite: number formats, operator versions, reproducible bytes, and checks against Keras.

It does not train, and it does not write bundles.
"""
