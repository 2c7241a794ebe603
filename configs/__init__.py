"""One configuration a paper."""
