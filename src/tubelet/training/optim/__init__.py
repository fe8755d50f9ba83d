"""What an optimizer step changes: optimizer, schedule, parameter groups, frozen parts, averaged weights."""
