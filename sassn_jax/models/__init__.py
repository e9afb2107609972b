"""The networks, one file a part."""
