"""The layouts a dataset can have on disk, one file per family, each read into plain rows."""
