"""Links to diagnostics that were revoked: of one organization, or of all, as many as were made until then."""

from datetime import datetime

from sqlalchemy import Connection, text

from app.services import secrets

SECRET = "diagnostic links"  # noqa: S105 - the name of the one that they are signed with

_OF_ALL = ""


def revoke(connection: Connection, organization: str | None) -> None:
    """Revokes the links that were made so far: those of the organization of this URN, or of all, and what they were
    signed with, should somebody else know it."""
    if organization is None:
        secrets.renew(connection, SECRET)
    connection.execute(
        text("""
            INSERT INTO link_revocations (organization, revoked_at) VALUES (:organization, clock_timestamp())
            ON CONFLICT (organization) DO UPDATE SET revoked_at = excluded.revoked_at
            """),
        {"organization": organization or _OF_ALL},
    )


def revoked_at(connection: Connection, organization: str) -> datetime | None:
    """When the links of an organization were revoked last."""
    found: datetime | None = connection.execute(
        text("SELECT max(revoked_at) FROM link_revocations WHERE organization IN (:organization, :all)"),
        {"organization": organization, "all": _OF_ALL},
    ).scalar_one()
    return found


def now(connection: Connection) -> datetime:
    """The time by the clock that revocations are told by."""
    found: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found
