"""Ingestion as tasks."""
