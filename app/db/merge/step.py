"""What every step of a merge works with."""

from typing import Any

from sqlalchemy import Connection, CursorResult, text

from app.db.publication import GROUP, PRODUCT, MergeReport, Publication


class MergeStep:
    """The connection, the publication, the report, and temporary tables that the steps hand on to each other."""

    def __init__(self, connection: Connection, publication: Publication) -> None:
        self.connection = connection
        self.publication = publication
        self.report = MergeReport()
        self._parameters = {
            "organization": publication.organization_id,
            "feed": publication.feed_id,
            "product": PRODUCT,
            "group": GROUP,
        }
        self._temporaries: list[str] = []

    @property
    def items(self) -> str:
        """The table of what is wide of staged items."""
        return self.publication.staging.name("items")

    @property
    def occurrences(self) -> str:
        """The table of staged occurrences."""
        return self.publication.staging.name("occurrences")

    @property
    def offers(self) -> str:
        """The table of staged offers."""
        return self.publication.staging.name("offers")

    def execute(self, statement: str, **parameters: Any) -> CursorResult[Any]:
        """Runs a statement; `:organization`, `:feed`, `:product` and `:group` are bound."""
        return self.connection.execute(text(statement), self._parameters | parameters)

    def temporary(self, name: str, query: str, columns: str, **parameters: Any) -> None:
        """Makes a temporary table of a query's rows, known to the planner by `columns`."""
        self.execute(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS {query}", **parameters)
        self._temporaries.append(name)
        self.connection.exec_driver_sql(f"ANALYZE {name} ({columns})")

    def drop_temporaries(self) -> None:
        """Makes room for another merge: in a dry run one follows in the same transaction."""
        self.connection.exec_driver_sql(f"DROP TABLE {', '.join(self._temporaries)}")
