"""The parts of the story, in their order: connect, library, find, order, paste."""
