"""What the commands do once their options are read: one file each, imported then, since it imports torch."""
