"""Model bundles: manifest, verification, signature, the TFLite runtime, and the last copy that worked.

Only `tflite` imports a TFLite runtime. A bundle answers with numbers; whether they are anomalous is decided in
`agent.detection`.
"""
