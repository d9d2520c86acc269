"""What the language has and this version does not: said once a statement, and nothing else."""

from __future__ import annotations

from tiedgraph.diagnostics import Diagnostics, Span

# What users can do instead.
LATER = {
    "soft ties": "tie hard makes the numbers the same",
    "ties across tasks": "a value that is made once and used twice is shared without a tie",
    "tasks": "put the inputs and losses into the file itself: several losses add up",
    "word models": "leave the statement out",
}


def not_yet(diagnostics: Diagnostics, what: str, span: Span) -> None:
    """The one message for what the language has and this version does not."""
    diagnostics.error(
        "E0901",
        f"{what} are not available yet",
        span,
        label="not available yet",
        hint=LATER[what],
    )
