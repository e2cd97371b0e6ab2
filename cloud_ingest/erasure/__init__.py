"""Erasing people: tombstones, what each worker does about them, the command line's exchange, the signed receipt."""
