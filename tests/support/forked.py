"""Processes of `stepwell` that need not load it: loading is most of what a command takes.

One process for each of pytest's has loaded it and forks when it is asked. What it forks is a process as any other: it
has an environment, files and a home of its own, opens everything itself, and is killed like any other. Tests of the
start itself start Python: at a terminal, over stdio, in the README, the demo and the wheel.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from tempfile import TemporaryFile

FORKS = """
import gc, json, os, selectors, signal, socket, sys, threading
import stepwell.tools.contents, stepwell_server.surface.http, stepwell_server.surface.stdio
from stepwell_server.cli import (
    artifacts, doctor, gc as collecting, grants, main, people, replay, run, runs, serve, transfer, view, workflows
)

def fork(request, descriptors, others):
    pid = os.fork()
    if pid:
        return pid
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for other in others:
        other.close()
    for wanted, given in enumerate(descriptors):
        os.dup2(given, wanted)
        os.close(given)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = open(2, "w", 1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["stepwell", *request["words"]]
    sys.exit(main(request["words"]))

asked = socket.socket(fileno=int(sys.argv[1]))
ended, wake = socket.socketpair()
for each in (ended, wake):
    each.setblocking(False)
signal.set_wakeup_fd(wake.fileno())
signal.signal(signal.SIGCHLD, lambda *_: None)
selector = selectors.DefaultSelector()
for each in (asked, ended):
    selector.register(each, selectors.EVENT_READ)
tellers = {}
gc.collect()
gc.freeze()
assert threading.active_count() == 1
while True:
    ready = [key.fileobj for key, _ in selector.select()]
    if ended in ready:
        ended.recv(4096)
        while tellers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            with tellers.pop(pid) as teller:
                teller.send(str(os.waitstatus_to_exitcode(status)).encode())
    if asked in ready:
        data, files, _, _ = socket.recv_fds(asked, 2**20, 4)
        if not data:
            break
        told = files.pop()
        teller = socket.socket(fileno=told)
        pid = fork(json.loads(data), files, [selector, asked, ended, wake, teller, *tellers.values()])
        for each in files:
            os.close(each)
        tellers[pid] = teller
        teller.send(str(pid).encode())
"""


class Forked:
    """One process of `stepwell`, with what tests use of `subprocess.Popen`."""

    def __init__(self, words: list[str], env: dict[str, str], stdin: int, stdout: int, stderr: int) -> None:
        self._told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            request = json.dumps({"words": words, "env": env}).encode()
            socket.send_fds(_forking(), [request], [stdin, stdout, stderr, theirs.fileno()])
        self.pid = int(self._told.recv(64))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float) -> int:
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = int(self._told.recv(64))
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired("stepwell", timeout) from None
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def run_forked(words: list[str], env: dict[str, str], stdin: bytes, limit_s: float) -> tuple[int, bytes, bytes]:
    """Return the exit code of a command, and what it wrote to stdout and stderr."""
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        process = Forked(words, env, given.fileno(), out.fileno(), err.fileno())
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        for each in (out, err):
            each.seek(0)
        return process.wait(limit_s), out.read(), err.read()


_STARTING = threading.Lock()


def _forking() -> socket.socket:
    with _STARTING:
        return _start()


@cache
def _start() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = theirs.fileno()
    process = subprocess.Popen([sys.executable, "-c", FORKS, str(number)], pass_fds=[number], stdin=subprocess.DEVNULL)
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
