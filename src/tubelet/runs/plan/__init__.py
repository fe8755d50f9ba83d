"""What a recipe will do, told before it is done (`tubelet train --dry-run`)."""
