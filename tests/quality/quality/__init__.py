"""How good lists are, by human ratings, tags and translations, measured through the front door."""
