"""Systems compared: recipes x overrides x seeds as one study, what came out, the page that shows it, and those that ship.

It may know how a pipeline is run on this machine and what runs left; a cluster and TFX it does not know.
"""
