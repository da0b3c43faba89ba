"""What runs inside the confined process. Standard library and `stepwell.sdk` only; nothing here is a boundary."""
