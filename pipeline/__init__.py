"""The pipeline from stems to a pushed model, and all that is said of it.

Its rooms lie on floors, and a module imports its own room and those below: `tests/test_imports.py` holds the table.
"""
