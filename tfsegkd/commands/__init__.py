"""The command lines. Flags are read and named in this package only.

Each module is a command: `define_flags` defines its flags, `main` does its work, and `run` is what the
console command and the script of its name in `tools/` call. `command_line` holds what they share.
"""
