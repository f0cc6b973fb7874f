"""Which models there are: the catalog, their settings, and downloads from the hub."""
