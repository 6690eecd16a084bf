"""`python -m app.cli`: what `discovery-node` does, without a script on the way."""

from app.cli import main

main()
