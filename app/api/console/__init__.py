"""The console: the API's documents as pages, for people.

A page is a template of `templates/`, under the name that its route passes to `answer`. Templates escape whatever they
are given; there is no script but `static/console.js`, and every page works without it.
"""

from app.api.console.pages import PAGES

__all__ = ["PAGES"]
