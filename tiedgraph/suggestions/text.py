"""Suggestions as text."""

from __future__ import annotations

from collections.abc import Mapping

from tiedgraph.suggestions.choose import Suggestions


def suggestions_text(found: Suggestions, stem: str | None = None) -> str:
    """One entry a tie, and what all of them come to."""
    head = f"model {found.model}: {found.free:,} free numbers"
    if found.before:
        head += f", {_values(found.before)}"
    if not found.ties:
        return (
            f"{head}\nno tie holds within {found.tolerance:.3g} of the spread of the numbers it "
            "would tie"
        )
    parts = [head]
    for tie, statement in zip(found.ties, found.statements(stem), strict=True):
        lines = [statement]
        if tie.proposal.about:
            lines.append(f"    {tie.proposal.about}")
        told = f"    saves {tie.saves:,}, distance {tie.distance:.2%}, "
        told += f"chance {_power(tie.log10_chance)}"
        if tie.measured:
            told += f"; {_changes(found.before, tie.measured)}"
        parts.append("\n".join([*lines, told]))
    count = len(found.ties)
    share = found.together / found.free
    last = f"{count} {'tie' if count == 1 else 'ties together'}: {found.together:,} free numbers "
    last += f"left ({share:.1%})"
    if found.after:
        last += f"; {_changes(found.before, found.after)}"
    return "\n\n".join([*parts, last])


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _changes(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name} {value:.4g} ({value - before[name]:+.2g})" for name, value in after.items()
    )


def _power(log10: float) -> str:
    return "below 1e-99" if log10 < -99 else f"1e{log10:.0f}"
