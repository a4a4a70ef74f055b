"""BSS Eval versions 3 and 4 of whole tracks by work that estimates, versions and frames share: numpy and scipy, no audio files.

It may know numpy and scipy (and threadpoolctl, for their threads), nothing of the pipeline; `libraries` and `museval`
alone wrap mir_eval and museval, which define what is right.
"""
