"""`python -m tests.hostile [NAME]`: a brand for a node to be pointed at, with all attacks or one."""

import argparse
import sys
import threading
from contextlib import ExitStack

from tests.hostile.brand import Attack, Brand
from tests.hostile.ftp import FtpBrand
from tests.hostile.stored import ATTACKS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(ATTACKS), metavar="NAME", help="one attack; else all")
    parser.add_argument("--port", type=int, default=8666, help="of the web and the store; FTP has those after it")
    arguments = parser.parse_args()
    chosen = {arguments.name: ATTACKS[arguments.name]} if arguments.name else ATTACKS
    with ExitStack() as stack:
        brand = stack.enter_context(Brand(chosen).running(arguments.port))
        places = [f"127.0.0.1:{brand.server.port}"]
        lines = []
        for attack in chosen.values():
            port = arguments.port + len(places)
            if attack.source == "ftp":
                stack.enter_context(FtpBrand(attack.commands).running(port))
                places.append(f"127.0.0.1:{port}")
            lines.append(f"{_registry(attack, brand.server.url, port)}  {attack.status}: {attack.told or 'applied'}")
        sys.stdout.write("\n".join([f"ALLOWED_PRIVATE_HOSTS={','.join(places)} lets a node read these:", *lines, ""]))
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            sys.stdout.write("\n")


def _registry(attack: Attack, web: str, port: int) -> str:
    if attack.source == "ftp":
        return f"{'ftps' if attack.is_secure else 'ftp'}://127.0.0.1:{port}/registry.json"
    if attack.source == "s3":
        return f"s3://{attack.name}/registry.json (endpoint_url: {web})"
    return f"{web}/{attack.name}/registry.json"


if __name__ == "__main__":
    main()
