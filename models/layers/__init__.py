"""What several networks are made of: layers, the ways into short sequences and back, and the base of the online ones.

Nothing here knows which network it is in.
"""
