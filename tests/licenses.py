"""The licences of all packages in requirements.lock, as a page: `make licenses`."""

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licenses.md"
CLASSIFIER = "License :: OSI Approved :: "
HEAD = """# Licences of other packages

`sassn_jax` itself is under the Apache License 2.0. This table has the packages that `make setup`
installs from `requirements.lock`, with the licence that each states in its own metadata. Packages
that the lock file has for other systems or versions of Python alone are not in it. To run an
exported model you need few of them.

None is under the GPL. Those under the Mozilla Public License ask that changes of their own files
are published; using them asks for nothing.

`make licenses` writes this page anew.

| package | licence |
|---|---|
"""


def locked_packages(lock: str) -> list[str]:
    """Returns the names of the packages in the text of a lock file that are installed here."""
    names = re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)
    return sorted(name for name in set(names) if _is_installed(name))


def license_of(package: str) -> str:
    """Returns the licence that a package states: an SPDX expression where it has one."""
    fields = metadata.metadata(package)
    if expression := fields.get("License-Expression"):
        return expression
    classifiers = [
        line.removeprefix(CLASSIFIER)
        for line in fields.get_all("Classifier", [])
        if line.startswith(CLASSIFIER)
    ]
    text = fields.get("License") or _first_file(package)
    return "; ".join(classifiers) or text.strip().splitlines()[0].strip()


def page() -> str:
    """Returns the page's text."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    rows = [f"| {name} | {license_of(name)} |\n" for name in locked_packages(lock)]
    return HEAD + "".join(rows)


def _is_installed(package: str) -> bool:
    try:
        metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _first_file(package: str) -> str:
    """The text of the licence that a package brings along; its first line names it."""
    files = [file for file in metadata.files(package) or () if file.name == "LICENSE"]
    return files[0].read_text() if files else "not stated"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
