"""What a corpus holds before any of it is decoded: by names, by the headers of its files, and by what ingest would say.

Knows the readers and the configuration's section `data`; nothing of records, and nothing that takes seconds to import.
"""
