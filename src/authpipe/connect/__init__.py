"""Making and ending connections and installations: the person who began must be the one who finishes."""
