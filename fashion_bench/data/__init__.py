"Files on disk to an image table, and from there to batches: sources, splits, the audit, the pixel cache, loaders."
