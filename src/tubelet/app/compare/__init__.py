"""Two looks at the same films: another model's, and that of the people who labeled them."""
