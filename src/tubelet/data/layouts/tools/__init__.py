"""What annotation tools export: one file per tool."""
