"""What every room of the pipeline needs: whole files, processes of their own, and what long work says meanwhile.

Knows neither audio nor TFX, and no other room.
"""
