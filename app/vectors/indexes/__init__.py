"""Search indexes by provider."""
