"""What a run leaves behind: its working directory, its metadata, its history, and what two runs differ in.

Knows ML Metadata and the saved configuration; neither the components that run nor who starts them.
"""
