"""Another name of a folder, for libraries that misread its own."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

# Orbax looks for its files with an unescaped glob. TensorStore takes a backslash for a slash, and a
# folder whose name ends in a colon for the scheme of a URL; it takes no bytes that are not UTF-8,
# which are surrogates in Python.
MISREAD = re.compile(r"[*?\[\]\\\ud800-\udfff]|:(/|$)")
OPEN_FILES = Path("/proc/self/fd")  # of this process, by number, on Linux


@contextlib.contextmanager
def readable_alias(directory: Path) -> Iterator[Path]:
    """Gives a path to a folder that Orbax and TensorStore do not misread.

    Where the folder's own path would be misread, Linux knows it by the number of an open file too;
    that name is gone when the process is. On other systems it is left as it is, and the first
    checkpoint shows that nothing can be read.
    """
    if not (MISREAD.search(str(directory)) and directory.is_dir() and OPEN_FILES.is_dir()):
        yield directory
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield OPEN_FILES / str(descriptor)
    finally:
        os.close(descriptor)
