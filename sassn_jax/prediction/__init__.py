"""A trained network as somebody else uses it: load it, predict, score it, export it."""
