"""The command of each benchmark, by its name: options and help, which need nothing of what they time."""
