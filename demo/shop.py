"""A shop's payment service, which records every charge and confirmation that reaches it."""

import threading
from typing import Any

from web import Answer

PATIENCE_S = 30.0


class Shop:
    """`POST /charges`, `GET /receipts/{id}`, `POST /confirmations`. The first receipt keeps its reader waiting."""

    def __init__(self) -> None:
        self.charges: list[dict[str, Any]] = []
        self.confirmations: list[dict[str, Any]] = []
        self.receipts_asked = 0
        self.asked_for_receipt = threading.Event()
        """Set when the first receipt has been asked for: the charge is made then."""
        self.printed = threading.Event()
        """Set it to let receipts out."""
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """Do what is asked for."""
        if (method, path) == ("POST", "/charges"):
            return self._add(self.charges, "ch", body)
        if (method, path) == ("POST", "/confirmations"):
            return self._add(self.confirmations, "cf", body)
        if method == "GET" and path.startswith("/receipts/"):
            with self._lock:
                self.receipts_asked += 1
            self.asked_for_receipt.set()
            self.printed.wait(PATIENCE_S)
            return 200, {"number": f"R-{path.removeprefix('/receipts/')}"}
        return 404, {"error": f"there is no {method} {path}"}

    def _add(self, records: list[dict[str, Any]], prefix: str, body: dict[str, Any]) -> Answer:
        with self._lock:
            record = {"id": f"{prefix}_{1001 + len(records)}", **body}
            records.append(record)
        return 201, record
