"""Keras separators of singing voice and music, from the STFT to the SavedModel.

Nothing here knows of TFX or of servers.
"""
