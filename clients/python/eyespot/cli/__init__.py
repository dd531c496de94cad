"""The one `eyespot` command: each subcommand is a thin face of its room."""
