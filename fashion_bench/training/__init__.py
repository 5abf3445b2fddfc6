"How a model is trained, as data: recipes, precision, clocks, the recorder of every epoch, checkpoints."
