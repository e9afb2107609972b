"""Other projects' weights into our trees, and our networks into files."""
