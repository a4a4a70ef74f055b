"""Whether a model may be pushed: checks of its scores, its outputs and its costs, each in one sentence.

Pure functions of track scores and of the gate's configuration; reads no audio and no files.
"""
