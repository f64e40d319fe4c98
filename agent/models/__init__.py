"""Model bundles: manifest, verification, signature, the TFLite runtime, and the last copy that worked.

Only `tflite` imports a TFLite runtime. Networks return forecasts and reconstructions; `agent.detection` decides whether
these are anomalous.
"""
