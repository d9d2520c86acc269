"""Recognition with word models: words, strings of words, and where in a recording they lie."""
