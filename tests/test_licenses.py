"""The page of licences is that of the lock file, and each licence may be used with ours."""

import sys

from tests import licenses

ALLOWED = ("Apache", "BSD", "FreeBSD", "ISC", "MIT", "Mozilla", "MPL-2.0", "PSF", "Python Software")


def test_the_page_is_the_lock_files():
    stated = dict(_rows(licenses.PAGE.read_text(encoding="utf-8")))
    for name, license_ in _rows(licenses.page()):
        if sys.version_info < (3, 12) or name in stated:  # a newer Python takes other packages
            assert stated.get(name) == license_, f"{name}: run make licenses"


def test_each_licence_may_be_used_with_ours():
    rows = list(_rows(licenses.page()))
    assert len(rows) > 50
    for name, license_ in rows:
        assert any(word in license_ for word in ALLOWED), (name, license_)
        assert "GPL" not in license_, (name, license_)


def test_of_a_licence_that_is_a_text_the_first_line_is_taken(monkeypatch):
    fields = {"License": "\nApache License\n  Version 2.0\n"}

    class Fields(dict):
        def get_all(self, name, default):
            return default

    monkeypatch.setattr(licenses.metadata, "metadata", lambda _: Fields(fields))
    assert licenses.license_of("anything") == "Apache License"


def _rows(text: str):
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| package"):
            yield tuple(cell.strip() for cell in line.strip("|").split("|"))
