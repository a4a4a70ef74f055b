"""BSS Eval versions 3 and 4 of whole tracks by work that estimates, versions and frames share: numpy and scipy, no audio files.

It knows nothing of the pipeline. `libraries` and `museval` alone wrap the packages that define what is right.
"""
