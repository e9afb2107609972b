"""Reading files that were changed at random: success or one clear error, whatever they hold.

`mutations` changes a file, `readers` has a few valid files and a function for each reader, `running`
reads thousands of changed ones within limits on memory and time.
"""
