"""Explanations for people: pictures, films and files of relevance maps."""
