import pytest

from stepwell.catalog.names import MAX_NAME, check_name, near_names
from stepwell.errors import InvalidName


@pytest.mark.parametrize("name", ["fetch_json", "a", "Fetch2", "x" * MAX_NAME, "run", "match"])
def test_identifiers_are_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("fetch json", "fetch_json"),
        ("fetch-json!", "fetch_json"),
        ("2fast", "workflow_2fast"),
        ("_private", "private"),
        ("class", "class_workflow"),
        ("search", "search_workflow"),
        ("invoke", "invoke_workflow"),
        ("x" * 49, "x" * 48),
        ("größe", "gr_e"),
        ("", "fetch_json"),
        ("\0", "fetch_json"),
        ("../etc", "etc"),
        ("naïve\ud800", "na_ve"),
    ],
)
def test_other_names_are_refused_with_one_to_use(name: str, proposal: str) -> None:
    with pytest.raises(InvalidName) as caught:
        check_name(name)
    assert f"`{proposal}`" in caught.value.hint
    caught.value.message.encode()


def test_near_names_come_best_first() -> None:
    assert near_names("fetch_jsn", ["fetch_html", "fetch_json", "other"])[0] == "fetch_json"
    assert near_names("zzz", ["fetch_json"]) == []
