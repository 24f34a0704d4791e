"""The commands of `gradus` that are more than one call, a module each."""
