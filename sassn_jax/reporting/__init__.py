"""One HTML page that tells a colleague what a run learned, and whether the run was healthy."""
