"""Serving a model: a client, an embedded server with TensorFlow Serving's protocol, and the tensors between them.

Knows SavedModels by their signatures alone; nothing of pipeline or models.
"""
