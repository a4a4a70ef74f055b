"""What is wrong with a track: measured while it is read, in bounded memory, and said in words.

Knows the signals of a track and the thresholds of the configuration; nothing of records or of other tracks.
"""
