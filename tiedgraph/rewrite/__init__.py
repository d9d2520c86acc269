"""Changes to the text of a model: its ties made harder, or taken away."""
