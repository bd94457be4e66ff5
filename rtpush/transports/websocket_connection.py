"""WebSocket connections: frames on a plain asyncio transport.

Rules that hold here:

- Everything is a callback. There is no task and no queue per connection.
- What is shared is framed elsewhere and only written here.
- A connection does a bounded amount of work in one turn of the loop, then goes on
  in the next one: whatever a client sends at once, the others have their turn.
- A client that sends faster than it may, or than the log stores, or does not
  take its replies and pongs, is not read until it does: nothing of it is
  refused or lost, and what it can make us hold is bounded. Every frame counts,
  and a compressed message counts with what it inflates to.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from websockets.extensions import Extension
from websockets.frames import CloseCode

from ..application.commands import Responder
from ..errors import Reason, RtpushError
from ..framing import control_frame
from ..json_limits import LIGHT, count_containers, weigh
from ..protocol import Incoming, encode_error, parse
from ..sessions.session import Session
from .closing_handshake import BINARY, CLOSE, PING, PONG, TEXT, ClosingConnection
from .context import TransportContext
from .frames import FrameError
from .held_memory import UNCHARGED, HeldMemory
from .large_envelope import LargeEnvelope
from .work_queue import TURN_SECONDS

__all__ = ["WebSocketConnection"]

# Envelopes of one connection that may wait to be stored.
MAX_IN_FLIGHT: Final = 64
# Envelopes of more bytes than this wait until they have MAX_IN_FLIGHT_BYTES together.
SMALL: Final = 4 << 10
MAX_IN_FLIGHT_BYTES: Final = 1 << 20
# Frames and bytes that one connection has handled in one turn of the loop, and seconds in
# which it begins with them. Empty frames take 2 µs each, envelopes 20 µs and more, those that
# are refused 100; a mebibyte of JSON up to 20 ms.
MAX_TURN_FRAMES: Final = 64
MAX_TURN_BYTES: Final = 64 << 10
# The pace that an unfinished message must keep, in bytes a second.
SLOWEST: Final = 16 << 10
# Heartbeats without a sign of life.
MAX_MISSED_HEARTBEATS: Final = 2

_PING: Final = control_frame(PING, b"")


class WebSocketConnection(ClosingConnection):
    """One WebSocket: a connection of the hub, and where its client's envelopes are answered."""

    __slots__ = (
        "_in_flight",
        "_in_flight_bytes",
        "_memory",
        "_missed_heartbeats",
        "_seen",
        "_throttled",
        "_turn_due",
        "_unpaid",
    )

    def __init__(
        self, transport: asyncio.Transport, extensions: list[Extension], context: TransportContext
    ) -> None:
        super().__init__(transport, context, deflate=bool(extensions))
        # Heartbeats since the client was last heard.
        self._missed_heartbeats = 0

        # ---- what holds reading back
        # Is the next turn of the loop to go on with what was received?
        self._turn_due = False
        # Has the client sent more than it may?
        self._throttled = False
        # Envelopes that are not answered, and the bytes of the larger ones.
        self._in_flight = 0
        self._in_flight_bytes = 0

        # ---- what it counts
        # Bytes that have not been charged to the client's rate.
        self._unpaid = 0
        # What it makes the server hold; None as long as that is little.
        self._memory: HeldMemory | None = None
        # Messages that were whole and bytes held at the last heartbeat.
        self._seen = (0, 0)

    def refuse(self, error: RtpushError, head: bytes) -> None:
        """A browser cannot read the answer to a handshake: an `error` event and a close code."""
        self._context.metrics.refusals[error.code] += 1
        self._transport.write(head)
        self.send(encode_error(error, None))
        self.close(error.meaning.close, error.code)

    # ------------------------------------------------------ asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._missed_heartbeats = 0
        if self._session is None:
            self._read_close(data)
            return
        self._unpaid += len(data)
        self._reader.feed(data)
        if self._turn_due:
            return
        if self._context.work_queue.has_time():
            self._take_turn()
        else:
            self._plan_turn()
            self._set_reading(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        if self._memory is not None:
            self._memory.set_unread(0)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        self._set_reading(False)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        self._missed_heartbeats = 0
        self._read_on()

    # ----------------------------------------------------- how much is read

    def _take_turn(self) -> None:
        """Handle the frames that are whole, up to a bound; the next turn goes on."""
        frames = size = 0
        until = monotonic() + TURN_SECONDS
        try:
            while self._session is not None and not self._is_held_back():
                if frames >= MAX_TURN_FRAMES or size >= MAX_TURN_BYTES or monotonic() > until:
                    self._plan_turn()
                    break
                found = self._reader.next()
                if found is None:
                    break
                frames += 1
                size += len(found[1])
                self._take_frame(*found)
        except FrameError as exc:
            self._fail(exc.code, str(exc))
        if size >= MAX_TURN_BYTES:
            # It waits for the others that have as much, before it is read again.
            self._plan_turn()
        if self._session is not None:
            self._settle(self._session, frames)

    def _is_held_back(self) -> bool:
        """Does what reading leads to have nowhere to go?"""
        return (
            self._full
            or self._throttled
            or self._in_flight >= MAX_IN_FLIGHT
            or self._in_flight_bytes >= MAX_IN_FLIGHT_BYTES
        )

    def _settle(self, session: Session, frames: int) -> None:
        """Charge the client for what it sent, and for what is kept of it."""
        size = self._unpaid + self._reader.excess
        self._unpaid = self._reader.excess = 0
        wait = self._context.charge(session, frames, size)
        if wait and not self._throttled:
            self._throttled = True
            asyncio.get_running_loop().call_later(wait, self._unthrottle)
        self._hold(session)
        self._set_reading(not self._turn_due and not self._is_held_back())

    def _hold(self, session: Session) -> None:
        held = self._reader.held
        if self._memory is None and held <= UNCHARGED:
            return
        if not self._memory_of(session).set_unread(held):
            self._context.hub.disconnect(session, _no_memory())

    def _memory_of(self, session: Session) -> HeldMemory:
        if self._memory is None:
            self._memory = HeldMemory(self._context.body_reader.clients, session)
        return self._memory

    def _unthrottle(self) -> None:
        self._throttled = False
        self._read_on()

    def _read_on(self) -> None:
        """Go on, if nothing holds it back: first with what was received, then reading."""
        if not self._reading_paused or self._turn_due or self._is_held_back():
            return
        if self._session is not None and self._reader.held:
            self._plan_turn()
        else:
            self._set_reading(True)

    def _plan_turn(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._context.work_queue.add(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_due = False
        self._take_turn()

    # -------------------------------------------------------------- incoming

    def _take_frame(self, opcode: int, payload: bytes) -> None:
        if opcode in (TEXT, BINARY):
            self._take_message(payload, text=opcode == TEXT)
        elif opcode == PING:
            self._say(control_frame(PONG, payload))
        elif opcode == CLOSE:
            self._take_close(payload)

    def _take_message(self, data: bytes, *, text: bool) -> None:
        size = len(data)
        containers = None
        if size > LIGHT:
            containers = count_containers(data)
            self._unpaid += weigh(data, containers) - size
        envelope: Incoming
        try:
            envelope = parse(data.decode(), containers) if text else _not_text()
        except RtpushError as error:
            # Its traceback holds this frame, and with it the message: a cycle, which
            # would stay until the garbage collector comes.
            envelope = error.with_traceback(None)
        except UnicodeDecodeError as exc:
            # RFC 6455, section 8.1.
            self._fail(CloseCode.INVALID_DATA, f"invalid UTF-8 at byte {exc.start}")
            return
        session = self._session
        assert session is not None
        self._in_flight += 1
        responder: Responder = self
        if size > SMALL:
            if not self._memory_of(session).take(size):
                self._context.metrics.refusals["unavailable"] += 1
                self.done(encode_error(_no_memory(), envelope.ack))
                return
            self._in_flight_bytes += size
            responder = LargeEnvelope(self, size)
        self._context.dispatcher.dispatch(session, envelope, responder)

    def send(self, envelope: bytes) -> None:
        """See dispatcher.Responder."""
        # Not between the fragments of a snapshot, where only control frames may stand.
        if not self._ended and not self._transport.is_closing():
            self.write(self.framing.frame(envelope, None))

    def done(self, reply: bytes | None) -> None:
        """See dispatcher.Responder."""
        self._in_flight -= 1
        if reply is not None:
            self.send(reply)
        if self._reading_paused:
            self._read_on()

    def large_done(self, size: int, reply: bytes | None) -> None:
        """`done` for an envelope of so many bytes."""
        self._in_flight_bytes -= size
        if self._memory is not None:
            self._memory.give_back(size)
        self.done(reply)

    # -------------------------------------------------------------- Connection

    def heartbeat(self) -> None:
        """See Connection."""
        slow = self._takes_slowly() or (self._reading_paused and not self._full)
        # We cannot hear a client while we do not read what it sends faster than it may.
        self._missed_heartbeats = 0 if slow else self._missed_heartbeats + 1
        if self._missed_heartbeats > MAX_MISSED_HEARTBEATS:
            self._end_session(Reason.PING_TIMEOUT)
            self._transport.abort()
        elif self._session is not None and self._drags_on():
            error = RtpushError("too_slow", "A message came too slowly; send it again.")
            self._context.hub.disconnect(self._session, error)
        else:
            self._transport.write(_PING)

    def _drags_on(self) -> bool:
        """Is the client sending a message that it does not finish?

        Without a pace that it must keep, a client could hold memory for ever.
        """
        reader, (messages, held) = self._reader, self._seen
        self._seen = reader.messages, reader.held
        if self._reading_paused or held <= UNCHARGED or reader.messages != messages:
            return False
        return reader.held - held < SLOWEST * self._context.settings.heartbeat


def _not_text() -> RtpushError:
    return RtpushError("bad_envelope", "Send envelopes as text frames, not binary ones.")


def _no_memory() -> RtpushError:
    return RtpushError("unavailable", "Too much is being sent at once; try again.")
