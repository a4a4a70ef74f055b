"""One file per architecture, with one subclass of models.layers.network.Network: a new network is one new file.

A module knows its paper and models.layers; that it is a network, its file's name says.
"""
