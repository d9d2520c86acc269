def names(dtype: str) -> dict[str, object]:
    return {}
