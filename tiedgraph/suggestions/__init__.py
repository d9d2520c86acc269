"""Ties that nearly hold in a trained model, proposed as statements."""

from tiedgraph.suggestions.choose import Chosen, Suggestions, suggest
from tiedgraph.suggestions.text import suggestions_text

__all__ = ["Chosen", "Suggestions", "suggest", "suggestions_text"]
