"""The names under which other systems' workflows are written, over the native authoring API.

For source that was written for them: it runs here with its import line changed. What these systems do and this one
decides otherwise is left as it is here; what has no meaning here, such as the address of a store, is logged.
"""

SYSTEMS = ("agnt5", "definable", "ninetrix", "sagewai")
"""Those that have a module here."""
