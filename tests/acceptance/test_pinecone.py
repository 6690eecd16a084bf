"""A node whose index is at Pinecone, by its commands alone."""

from tests.acceptance.conftest import ROOT, CommandLine
from tests.support.pinecone import API_KEY, Fault, PineconeServer


def test_the_index_is_set_up_filled_searched_verified_and_mended(command: CommandLine, database_url: str) -> None:
    with PineconeServer() as server:
        command.environment |= {
            "DATABASE_URL": database_url, "INGESTION_CONFIG_PATH": str(ROOT / "ingestion.yaml"),
            "PINECONE_API_KEY": API_KEY, "PINECONE_DENSE_INDEX": "dense", "PINECONE_SPARSE_INDEX": "sparse",
            "PINECONE_CONTROLLER_HOST": server.url, "ALLOWED_PRIVATE_HOSTS": "127.0.0.1",
        }  # fmt: skip
        assert "discovery-node vectors setup" in command.refused("vectors", "rebuild", code=1)
        assert "created dense and sparse" in command.done("vectors", "setup")

        command.done("ingest")
        hits = command.json("search", "something to listen to music with", "--limit", "3", "--in-stock")["results"]
        assert len(hits) == 3
        assert all(hit["availability"] in ("InStock", "LimitedAvailability") for hit in hits)
        assert command.json("vectors", "verify") == {"missing": 0, "stale": 0, "surplus": 0}

        (namespace,) = server.indexes["dense"].namespaces
        held = server.indexes["sparse"].namespaces[namespace]
        held.pop(next(iter(held)))
        held["999999"] = held[next(iter(held))]
        assert command.json("vectors", "verify", code=1) == {"missing": 1, "stale": 0, "surplus": 1}
        assert "It is mended." in command.done("vectors", "verify", "--repair")

        server.faults.add(Fault(status=401, times=100))
        assert "PINECONE_API_KEY" in command.refused("search", "lamp", code=1)
