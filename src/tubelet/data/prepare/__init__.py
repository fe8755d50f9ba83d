"""Videos transcoded once, so that training decodes them many times faster."""
