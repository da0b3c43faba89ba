"""What the runs of one process may ask of it."""

from stepwell.engine.dispatch import Dispatcher
from stepwell.engine.starting import Starter


class Control:
    """Implements `RunControl` for the runs of this process."""

    def __init__(self, starter: Starter, dispatcher: Dispatcher) -> None:
        self.kick = dispatcher.kick
        self.yield_slot = dispatcher.yield_slot
        self.take_slot = dispatcher.take_slot
        self.is_crowded = dispatcher.is_crowded
        self.start_child = starter.start_child
