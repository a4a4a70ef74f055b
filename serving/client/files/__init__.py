"""Lists of files to separate: which they are, where their stems go, and how those are written. Knows of no model."""
