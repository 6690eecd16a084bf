"""Text that reads like an instruction to a language model, not like words about a product."""

import re

# Almost no text holds one of these, and looking for them takes a fraction of what the expression does.
_HINTS = (
    "instruction", "prompt", "you are ", "assistant", "agent", "language model", "llm", "ai ", "<|", "[inst", "ignore",
    "disregard", "forget", "override",
)  # fmt: skip
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instructions?|prompts?|rules|guidelines|everything above)\b"
    r"|\b(?:system|developer|hidden|initial)\s+prompt\b"
    r"|\byou\s+are\s+(?:now\s+)?(?:an?\s+)?(?:ai|assistant|language\s+model|llm|chatgpt|agent)\b"
    r"|\b(?:ai|assistants?|language\s+models?|llms?|agents?)\b.{0,20}\b(?:must|should|have\s+to)\s+(?:always\s+|only\s+)?"
    r"(?:recommend|rank|choose|prefer|buy|say|answer|reply)\b"
    r"|<\|[a-z_]{2,20}\|>|\[/?inst\]",
    re.IGNORECASE | re.DOTALL,
)
_SHOWN = 120  # characters


def instruction_in(text: str) -> str | None:
    """The passage that reads like an instruction, cut; None when there is none."""
    lowered = text.lower()
    if not any(hint in lowered for hint in _HINTS):
        return None
    found = _INSTRUCTION.search(text)
    return found and found[0][:_SHOWN]
