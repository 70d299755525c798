"""One module for each command of `connector`; they are imported only when they run."""
