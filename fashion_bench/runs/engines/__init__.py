"Where runs execute: a class for each kind of place."
