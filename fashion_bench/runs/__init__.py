"One run and its record; the grid of runs, what it will cost, and where it executes."
