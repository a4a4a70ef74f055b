"""What a person types and reads: the `stemline` command, its options, and the tables that it prints.

It may know every other room, and none knows it; a command imports what it needs only when it runs.
"""
