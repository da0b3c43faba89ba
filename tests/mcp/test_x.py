from mcp import Client


def test_x() -> None:
    assert Client
