"""The ways to ask: gRPC and REST, with the words and codes of TensorFlow Serving.

Knows messages and the models' registry; loads and runs nothing itself.
"""
