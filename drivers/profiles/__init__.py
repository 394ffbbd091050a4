"""Products as data: one TOML file each."""
