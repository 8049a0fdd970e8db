"""Container images, made of what `./dev build` made."""
