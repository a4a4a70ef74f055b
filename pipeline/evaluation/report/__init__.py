"""The report of an evaluation: one HTML file that needs no network, for people.

Knows an evaluation, its figures and the audio of the tracks that it plays; decides nothing.
"""
