"""What docs/mcp.md shows: an assistant that starts the command."""

import json
import re

import anyio
from mcp import Client, StdioServerParameters

from tests.acceptance.conftest import COMMAND, ROOT, CommandLine

PAGE = (ROOT / "docs" / "mcp.md").read_text()


def test_an_assistant_that_starts_the_command_finds_products(node: CommandLine) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (configured,) = json.loads(block)["mcpServers"].values()
    assert configured["command"] == COMMAND.name
    environment = {"HOME": str(node.folder), "PYTHONPATH": str(ROOT), **node.environment}
    server = StdioServerParameters(command=str(COMMAND), args=configured["args"], env=environment)

    async def run() -> None:
        async with Client(server) as client:
            found = await client.call_tool("search_products", {"query": "keep coffee hot", "limit": 3})
            assert len(found.structured_content["products"]) == 3
            urn = found.structured_content["products"][0]["urn"]
            told = await client.call_tool("get_product", {"skuUrn": urn})
            assert told.structured_content["urn"] == urn
            prompt = await client.get_prompt("compare_two", {"skuA": urn, "skuB": "other\u202e"})
            assert urn in prompt.messages[0].content.text
            assert "\u202e" not in prompt.messages[0].content.text

    anyio.run(run)
