"""Everything about one untrusted process: confinement, protocol, guest. Imports nothing by itself."""
