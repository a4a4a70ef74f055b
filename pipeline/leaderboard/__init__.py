"""Systems compared: which ones run, what came out, the page that shows it, and the results that ship with the project.

It may know how a pipeline is run on this machine and what runs left; a cluster and TFX it does not know.
"""
