from tests.training.conftest import trunk

__all__ = ["trunk"]  # a fixture
