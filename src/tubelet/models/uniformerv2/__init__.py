"""UniFormerV2: an image ViT with local and global UniBlocks."""
