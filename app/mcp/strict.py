"""A server that refuses what its tools and prompts do not know, in words to act on. The SDK's own ignores it: products
at most so dear would be asked for, and any answered."""

from collections.abc import Collection
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, GetPromptResult, InputRequiredResult, Tool
from pydantic import ValidationError

from app.mcp.text import plain
from app.services.filters import Filter

_MOST = 50  # characters of a name that is repeated


class StrictServer(MCPServer[Any]):
    """Tools and prompts take the arguments they list and no others."""

    async def list_tools(self) -> list[Tool]:
        return [
            tool.model_copy(update={"input_schema": {**tool.input_schema, "additionalProperties": False}})
            for tool in await super().list_tools()
        ]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Raises `ToolError` that says which argument is wrong, and how."""
        known = {tool.name: tool.input_schema["properties"] for tool in await self.list_tools()}
        if name in known and (unknown := _unknown(arguments, known[name])):
            raise ToolError(f"{unknown}{_hint(set(arguments) - set(known[name]), known[name])}")
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if isinstance(error, UnexpectedToolError) or not isinstance(error.__cause__, ValidationError):
                raise
            raise ToolError(_wrong(error.__cause__)) from error.__cause__

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Any, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """Raises `MCPError` for a prompt that there is not, and for arguments that it does not take or lacks."""
        prompts = {prompt.name: prompt.arguments or [] for prompt in await self.list_prompts()}
        if name not in prompts:
            known = ", ".join(prompts)
            raise MCPError(INVALID_PARAMS, f"There is no prompt {plain(name, _MOST)!r}. There are: {known}.")
        given, taken = arguments or {}, prompts[name]
        missing = [each.name for each in taken if each.required and each.name not in given]
        wrong = _unknown(given, [each.name for each in taken])
        if wrong or missing:
            raise MCPError(INVALID_PARAMS, wrong or f"The prompt needs the argument {missing[0]}.")
        return await super().get_prompt(name, arguments, context)


def _unknown(given: Collection[str], known: Collection[str]) -> str | None:
    """What is wrong with the first argument that is not known; None when all are."""
    unknown = sorted(set(given) - set(known))
    if not unknown:
        return None
    return f"There is no argument {plain(unknown[0], _MOST)!r}. There are: {', '.join(known)}."


def _hint(unknown: Collection[str], known: Collection[str]) -> str:
    is_filter = "filters" in known and any(name in Filter.model_fields for name in unknown)
    return f" What filters goes into `filters`: {', '.join(Filter.model_fields)}." if is_filter else ""


def _wrong(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"The argument {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}."
