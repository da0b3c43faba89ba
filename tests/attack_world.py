"""What an attack must not touch: files, sockets and a process of the test's own, and how one sees that it did."""

import os
import resource
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

SECRET_NAME, SECRET_VALUE = "STEPWELL_TEST_API_KEY", "sk-canary-0f3c9e77aa51"
DROPPED = ("dropped_file", "persist_marker", "poisoned_by_a_run")


class World:
    """Made below a folder; its inputs are what every attack is told. Set the secret in the host's environment first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dangers: list[str] = []
        """Calls that were carried out for runs that had ended."""
        self.make_files()
        self.victim = subprocess.Popen(["sleep", "900"], env={SECRET_NAME: SECRET_VALUE}, start_new_session=True)
        self.sockets: list[socket.socket] = []
        self.inputs: dict[str, Any] = {
            "canary_file": str(self.file), "canary_dir": str(root / "canary"), "home": str(root / "home"),
            "parent_pid": os.getpid(), "victim_pid": self.victim.pid, "env_name": SECRET_NAME,
            "env_value": SECRET_VALUE,
            "shm_key": 0x5B0C0000 | os.getpid() & 0xFFFF, "runs_secret": "VICTIM-SECRET-77", "phase": 1,
        }  # fmt: skip
        self.listen()

    @property
    def file(self) -> Path:
        return self.root / "canary" / "secret.txt"

    def make_files(self) -> None:
        shutil.rmtree(self.root / "canary", ignore_errors=True)
        shutil.rmtree(self.root / "home", ignore_errors=True)
        (self.root / "canary").mkdir(parents=True)
        (self.root / "home" / ".ssh").mkdir(parents=True)
        self.file.write_text("CANARY-CONTENT")
        self.file.chmod(0o644)
        os.utime(self.file, (1_700_000_000, 1_700_000_000))
        (self.root / "home" / ".ssh" / "id_rsa").write_text("CANARY-KEY")

    def listen(self) -> None:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        name = f"stepwell-canary-{os.getpid()}-{id(self)}"
        abstract, path = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        abstract.bind(f"\0{name}")
        datagrams.bind(f"\0{name}-dgram")
        path.bind(str(self.root / "listener"))
        abstract.listen()
        path.listen()
        self.sockets = [tcp, udp, abstract, datagrams, path]
        for listener in self.sockets:
            listener.setblocking(False)
        self.inputs |= {
            "tcp_port": tcp.getsockname()[1], "udp_port": udp.getsockname()[1], "abstract": name,
            "unix_path": str(self.root / "listener"),
        }  # fmt: skip

    def reached(self) -> list[str]:
        """Return the names of the sockets that something was sent to."""
        found: list[str] = []
        for listener in self.sockets:
            try:
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(100)
                else:
                    listener.accept()[0].close()
            except BlockingIOError:
                continue
            found.append(str(listener.getsockname()))
        return found

    def damage(self) -> list[str]:
        """Return what attacks have done since the last call, and make the files anew if they were touched."""
        found: list[str] = []
        state = self.file.stat() if self.file.exists() else None
        if state is None or self.file.read_text() != "CANARY-CONTENT":
            found.append("canary changed")
        elif state.st_mode & 0o777 != 0o644 or state.st_mtime != 1_700_000_000 or os.listxattr(self.file):
            found.append("canary's metadata changed")
        if os.listdir(self.root / "canary") != ["secret.txt"] or os.listdir(self.root / "home") != [".ssh"]:
            found.append("files dropped")
        for folder in ("/var/tmp", "/dev/shm", "/tmp", "/run", "/"):
            found += [f"{folder}/{name}" for name in DROPPED if os.path.exists(f"{folder}/{name}")]
        if self.victim.poll() is not None or self._state_of_victim() == "T":
            found.append("another process was signalled")
        elif resource.prlimit(self.victim.pid, resource.RLIMIT_NOFILE)[0] == 1:
            found.append("another process was limited")
        found += [f"{name} was reached" for name in self.reached()]
        found += [f"a call was carried out for {name}, which had ended" for name in self.dangers]
        self.dangers.clear()
        if found:
            self.make_files()
        return found

    def _state_of_victim(self) -> str:
        return Path(f"/proc/{self.victim.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

    def close(self) -> None:
        for listener in self.sockets:
            listener.close()
        self.victim.kill()
        self.victim.wait()
