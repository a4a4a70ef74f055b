"""The graph and the nodes that TFX runs: ingest, validation, training, judging, the serving check and the push.

Knows TFX and everything below it; not who runs the graph, nor where.
"""
