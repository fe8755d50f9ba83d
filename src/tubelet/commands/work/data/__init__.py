"""What the commands of ``tubelet data`` do."""
