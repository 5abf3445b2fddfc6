"`fashion-bench`: thin commands over all of it."
