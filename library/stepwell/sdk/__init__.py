"""The authoring API: what a workflow imports from `stepwell`. Standard library only; loaded in the sandbox."""
