"""Reading files that were changed at random: success or one clear error, whatever they hold.

`mutations` changes a file, `readers` has valid files and a function for each reader, and `running`
reads thousands of changed files within limits on memory and time.
"""
