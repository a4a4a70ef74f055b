"""The checks of a model's outputs that hold whatever they score: a module for each family, in words."""
