"""What a run is told: a recipe and its overrides as frozen dataclasses, one module for each larger section.

Knows models (its specs and what checks them) and nothing of what acts on a configuration; imports no TensorFlow.
"""
