"What every room speaks of: errors that a user can mend, files that are whole, what a run is asked to be, a grid as a file."
