"""What a model or anybody's files are worth: estimates and baselines, their scores, the gate and the report.

Knows data and configuration; nothing of TFX, Beam, training or how a run is kept.
"""
