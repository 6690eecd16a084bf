"""`python -m tests.hostile [NAME]`: a brand for a node to be pointed at, with all attacks or one."""

import argparse
import sys
import threading

from tests.hostile.attacks import ATTACKS
from tests.hostile.brand import Brand


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(ATTACKS), metavar="NAME", help="one attack; else all")
    parser.add_argument("--port", type=int, default=8666)
    arguments = parser.parse_args()
    chosen = {arguments.name: ATTACKS[arguments.name]} if arguments.name else ATTACKS
    with Brand(chosen).running(arguments.port) as brand:
        out = sys.stdout
        out.write(f"ALLOWED_PRIVATE_HOSTS=127.0.0.1:{brand.server.port} lets a node read these:\n")
        for name, attack in chosen.items():
            out.write(f"{brand.server.url}/{name}/registry.json  {attack.status}: {attack.told or 'applied'}\n")
        out.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            out.write("\n")


if __name__ == "__main__":
    main()
