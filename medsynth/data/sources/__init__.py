"""What lies on disk, one file per layout."""
