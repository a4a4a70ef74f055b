"""One module per layout of a corpus, found by its file's name: see `pipeline.data.datasets`."""
