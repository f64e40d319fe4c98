"""Export from Keras to TFLite: number formats, operator versions, reproducible bytes, verification against Keras."""
