"""Models in memory: which are served, their versions on disk, and how requests run, alone or in batches.

Knows files and sessions; nothing of ports or transports.
"""
