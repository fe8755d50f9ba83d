"""From files on disk to uint8 clips: readers, manifests, sampling plans, transforms, datasets and loaders."""
