"""Makes the table of word pieces of model text-2. `make` beside this directory runs it."""
