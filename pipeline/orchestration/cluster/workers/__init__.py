"""A training on several pods: the JobSet that the Trainer's task launches and waits for, and what each of its pods runs.

It may know the Trainer and Kubernetes, and nothing of Kubeflow Pipelines or of the run that it is a part of.
"""
