"""Small files of models whose numbers are clustered, and how to get there."""
