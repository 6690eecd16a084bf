"""What is typed, checked before anything is opened."""

from decimal import Decimal, InvalidOperation
from difflib import get_close_matches

import typer

from app.cmp.currencies import CURRENCIES
from app.cmp.issues import CODES
from app.cmp.limits import MAX_PRICE
from app.cmp.urns import normalize_organization_urn
