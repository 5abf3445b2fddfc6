"Who watches runs while they go on: a person, Weights & Biases, TensorBoard."
