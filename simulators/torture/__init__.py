"""Process-level chaos on the whole path, from a seed, with the ledger's verdict after each round."""
