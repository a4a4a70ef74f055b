"""Where and how the graph runs: on this machine, on a Beam cluster and, in `cluster`, on Kubeflow.

It may know the components and TFX; what a person typed, and how results are compared, it does not know.
"""
