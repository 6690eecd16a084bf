"""What tests against the database share: how many examples there are, and the API with a browser before it."""

from collections.abc import Iterator

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.support.api import Api, api
from tests.support.console import signed_in
from tests.support.nodes import Node

# The same few examples each time, and with --hypothesis-profile=thorough many that
# differ, without the hours of making a failing one smaller.
_PATIENT = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("quick", parent=_PATIENT, max_examples=15, derandomize=True)
settings.register_profile("thorough", parent=_PATIENT, max_examples=1000, phases=[Phase.explicit, Phase.generate])


@pytest.fixture
def served(node: Node) -> Iterator[Api]:
    """The API of a node, over HTTP."""
    with api(node.database, node.settings) as client:
        yield client


@pytest.fixture
def admin(served: Api) -> Iterator[httpx2.Client]:
    """A browser in which an operator is signed in."""
    with signed_in(served) as browser:
        yield browser
