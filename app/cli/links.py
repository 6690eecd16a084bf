"""`links`: by which brands read their diagnostics."""

from app.cli.database import database_errors, opened, settings
from app.cli.output import console
from app.core.errors import DiscoveryNodeError
from app.services import browse, links


class UnknownOrganizationError(DiscoveryNodeError):
    """No organization has this URN."""


def revoke(organization: str | None) -> None:
    """Revokes the links of an organization, or of all. Raises `UnknownOrganizationError`."""
    database = opened(settings())
    with database_errors(), database.transaction() as connection:
        if organization is not None and browse.organization(connection, organization) is None:
            raise UnknownOrganizationError(
                f"There is no organization {organization}", remedy="`discovery-node status` tells those there are."
            )
        links.revoke(connection, organization)
    console().print(f"Links to the diagnostics of {organization or 'all organizations'} made so far open nothing.")
