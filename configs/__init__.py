"""The configs: `get_config(argument)` in a file for each recipe."""
