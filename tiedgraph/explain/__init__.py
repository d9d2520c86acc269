"""`explain`: what is shared in a model, what that saves, and what it does not shrink."""

from tiedgraph.explain.data import Explanation, explain
from tiedgraph.explain.text import explain_parameter, explain_text

__all__ = ["Explanation", "explain", "explain_parameter", "explain_text"]
