"""The embedded model server: TensorFlow Serving's protocol, flags and answers; run it with python -m serving.server.

Knows any SavedModel; nothing of sound, nor of the client.
"""
