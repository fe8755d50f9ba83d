"""A recipe carried out in a folder: the plan, the run and its result."""
