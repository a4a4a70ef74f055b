"""The graph on Kubeflow Pipelines: compiled, submitted, scheduled, waited for, and emulated on one machine.

It may know `workers`, to which a Trainer of several pods hands over; a run on this machine knows nothing of it.
"""
