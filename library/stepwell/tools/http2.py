"""HTTP/2 on the host's connections: what httpcore leaves open when an answer is given up, or a connection is stale."""

from contextlib import suppress

import httpcore
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event
from h2.exceptions import ProtocolError


class Http2Connection(httpcore.AsyncHTTP2Connection):
    """A connection on which an answer that nobody reads to its end holds up no other one.

    httpcore neither tells the server to stop nor counts what has come as read: after 16 MiB of such answers no other
    one on the connection would arrive.
    """

    def has_expired(self) -> bool:
        """Return whether it should not be used any more, also since the server has ended it."""
        # Something to read on an idle connection is its end, or a frame that costs a new connection at most. A request
        # on one that has ended would be lost, and nobody could tell whether it has arrived.
        return super().has_expired() or (self.is_idle() and bool(self._network_stream.get_extra_info("is_readable")))

    async def _read_incoming_data(self, request: httpcore.Request) -> list[Event]:
        try:
            return await super()._read_incoming_data(request)
        except ProtocolError as error:
            # What the server sends makes no sense: that ends all answers, not only that of the one who has read it.
            self._read_exception = httpcore.RemoteProtocolError(str(error))
            self._connection_error = True
            raise self._read_exception from error

    async def _response_closed(self, stream_id: int) -> None:
        state = self._h2_state
        with suppress(ProtocolError):  # the whole connection has ended
            for event in self._events.get(stream_id, ()):
                if isinstance(event, DataReceived) and event.flow_controlled_length:
                    state.acknowledge_received_data(event.flow_controlled_length, stream_id)
            stream = state.streams.get(stream_id)
            if stream is not None and not stream.closed:
                # It leaves with the next request; until then nobody reads what the server sends.
                state.reset_stream(stream_id, ErrorCodes.CANCEL)
        await super()._response_closed(stream_id)


class EitherConnection(httpcore.AsyncHTTPConnection):
    """A connection of the version that the server has chosen."""

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Connect before the first request; send it."""
        try:
            async with self._request_lock:
                if self._connection is None:
                    stream = await self._connect(request)
                    secured = stream.get_extra_info("ssl_object")
                    chosen = None if secured is None else secured.selected_alpn_protocol()
                    made = Http2Connection if chosen == "h2" else httpcore.AsyncHTTP11Connection
                    self._connection = made(self._origin, stream, self._keepalive_expiry)
        except BaseException:
            self._connect_failed = True
            raise
        return await self._connection.handle_async_request(request)
