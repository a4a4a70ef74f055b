"""Fits a recipe's network: the loop and its stages, L-BFGS, the devices it is shared by, and what it starts from.

Knows the data, the configuration and what earlier runs left; not TFX, nor what becomes of the model.
"""
