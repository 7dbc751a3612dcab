"""Studies: grids of runs, variants by seeds, that end in one table, one figure and one record."""
