"""The databases of the integration tests."""

from tests.integration.conftest import shared_database, shared_url

__all__ = ["shared_database", "shared_url"]
