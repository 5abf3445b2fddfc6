"One registry over torchvision, timm and fastai: how a model is named, built, grouped, headed and timed."
