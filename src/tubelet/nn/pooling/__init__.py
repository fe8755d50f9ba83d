"""How tokens become one vector, where more than one family does it the same way."""
