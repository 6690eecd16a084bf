"""Errors that nobody foresaw, told to Sentry: what went wrong and where in the code, and nothing of what was worked on.

A message, a variable or an argument may quote a stranger's feed, or what it says of somebody. So of an exception only
its type and its place are told.
"""

from importlib.metadata import version
from typing import Any

import structlog
from celery import signals

from app.core import unforeseen
from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.db.session import is_foreseen

_FLUSH = 2.0  # seconds that a process waits for its reports to be gone: a child may be killed next
_TOLD = frozenset({
    "event_id", "timestamp", "platform", "level", "exception", "server_name", "release", "environment", "sdk", "tags",
    "contexts", "transaction",
})  # fmt: skip
_TAGS = ("task", "task_id")
_CONTEXTS = frozenset({"runtime", "os"})


def begin(settings: Settings) -> None:
    """Reports from here on, if SENTRY_DSN is set. Raises `ConfigurationError` when that cannot be done."""
    if settings.sentry_dsn is None:
        return
    try:
        import sentry_sdk
        from sentry_sdk.integrations.atexit import AtexitIntegration
        from sentry_sdk.integrations.excepthook import ExcepthookIntegration
        from sentry_sdk.integrations.threading import ThreadingIntegration
    except ImportError:
        raise ConfigurationError(
            "SENTRY_DSN is set, and what reports to Sentry is not installed",
            remedy="Run `pip install discovery-node[sentry]`, or unset SENTRY_DSN.",
        ) from None
    try:
        # None but these: others patch Celery, and pick up what is logged.
        sentry_sdk.init(
            settings.sentry_dsn.get_secret_value(),
            release=f"discovery-node@{version('discovery-node')}",
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[
                ExcepthookIntegration(),
                ThreadingIntegration(propagate_scope=False),
                AtexitIntegration(_say_nothing),
            ],
            shutdown_timeout=_FLUSH,
            before_send=_told,
            include_local_variables=False,
            send_default_pii=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            auto_session_tracking=False,
            send_client_reports=False,
            traces_sample_rate=None,
        )
    except ValueError:
        # Its text holds the key.
        raise ConfigurationError(
            "SENTRY_DSN is not a DSN", remedy="Copy it from the settings of the project in Sentry: https://key@host/1."
        ) from None
    signals.task_failure.connect(_report_failure)
    unforeseen.listen(_report)


def _say_nothing(_pending: int, _timeout: float) -> None:
    """In place of what the library prints when a process ends before its reports are gone."""


def _report_failure(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    """What ended a task."""
    if is_foreseen(exception):
        return
    import sentry_sdk

    _report(exception, task=sender.name, task_id=task_id)
    sentry_sdk.flush(_FLUSH)


def _report(error: BaseException, **tags: str) -> None:
    """Sends it from a thread of the library's own; one that stops no task is of the task that goes on."""
    import sentry_sdk

    bound = structlog.contextvars.get_contextvars()
    with sentry_sdk.new_scope() as scope:
        for name in _TAGS:
            if told := tags.get(name) or bound.get(name):
                scope.set_tag(name, told)
        scope.capture_exception(error)


def _told(event: Any, hint: dict[str, Any]) -> Any:
    """What may leave of an event; None when nothing has to."""
    error = hint.get("exc_info", (None, None))[1]
    if error is None or is_foreseen(error):
        return None
    for each in event["exception"]["values"]:
        each["value"] = each.get("type")
        for place in each.get("stacktrace", {}).get("frames", ()):
            place.pop("vars", None)
    contexts = {name: told for name, told in event.get("contexts", {}).items() if name in _CONTEXTS}
    return {name: told for name, told in event.items() if name in _TOLD} | {"contexts": contexts}
