"""All layers in their order: what is needed for them is prepared once, and put on in each child."""

import os
import signal
from contextlib import suppress

from stepwell_sandbox.confine import capabilities, landlock, libc, limits, namespaces, seccomp
from stepwell_sandbox.confine.bpf import Program
from stepwell_sandbox.confine.plan import Plan, ProcessLimits
from stepwell_sandbox.wire import GUEST_FD


class Confinement:
    """Puts a plan's layers on the calling process.

    Raises:
        ConfineError: on construction, if a layer cannot exist on this machine.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._abi = landlock.abi() if plan.landlock else 0
        if plan.landlock and not self._abi:
            raise libc.ConfineError("the kernel has no Landlock")
        self._last_capability = capabilities.last_capability()
        self._last = self._build(exec_files=plan.own_namespaces)
        later = plan.sealed_later
        self._filter = self._build(exec_files=True, sealed_later=True) if later else self._last

    def _build(self, *, exec_files: bool, sealed_later: bool = False) -> Program:
        return seccomp.build(
            paths=self.plan.paths,
            metadata=self.plan.hidden_files,
            landlock_abi=self._abi,
            exec_files=exec_files,
            sealed_later=sealed_later,
        )

    def hide_packages(self) -> None:
        """Close the machine's packages to this process and all its children, where nothing is mounted over them.

        A rule of Landlock opens all that lies below a folder, so what lies beside them is named one by one: too much
        for each child to do.
        """
        if not (self.plan.landlock and self.plan.hidden):
            return
        rules = landlock.Ruleset(self._abi)
        for path in self.plan.readable:
            _allow_beside(rules, os.path.realpath(path), self.plan.hidden)
        _allow_devices(rules)
        rules.allow(self.plan.scratch_root, landlock.READ_WRITE)
        if os.path.isdir(namespaces.OWN_THREADS):  # which are counted before each fork
            rules.allow(namespaces.OWN_THREADS, landlock.READ_DIR)
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        rules.enforce()

    def apply(self, channel: int, written: int, scratch: str, process_limits: ProcessLimits, other_tasks: int) -> None:
        """Confine this process, which keeps `written` as descriptors 1 and 2, `channel` as 3, and nothing else.

        The order is forced: no mount is possible after Landlock, and nothing at all after seccomp.

        Raises:
            ConfineError: a layer was refused; the process must end at once.
        """
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.umask(0o077)
        _keep_only(channel, written)
        self._enter_scratch(scratch, process_limits)
        rules = self._rules(scratch)
        limits.apply_limits(process_limits, other_tasks)
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        libc.try_prctl(libc.PR_SET_MDWE, 1)  # since Linux 6.3; the filter forbids writable code as well
        if rules:
            rules.enforce()
        capabilities.drop_all(self._last_capability)
        libc.prctl(libc.PR_SET_DUMPABLE, 0)  # a core pattern that is a pipe ignores RLIMIT_CORE
        seccomp.install(self._filter, os.getpid())

    def seal(self) -> None:
        """Forbid this process, with all its threads, to load more code. Does nothing where it is forbidden already.

        Raises:
            ConfineError: it was refused; the process must end at once.
        """
        if self._filter is not self._last:
            seccomp.install_everywhere(self._last, os.getpid())

    def _enter_scratch(self, scratch: str, process_limits: ProcessLimits) -> None:
        if self.plan.own_namespaces:
            namespaces.make_private_scratch(scratch, process_limits.scratch_bytes)
            namespaces.count_threads_alone()
        elif scratch:
            os.mkdir(scratch, 0o700)
        os.chdir(scratch or "/")

    def _rules(self, scratch: str) -> landlock.Ruleset | None:
        """Return a ruleset of this child's own: a shared one would open the scratch of other runs."""
        if not self.plan.landlock:
            return None
        rules = landlock.Ruleset(self._abi)
        for path in self.plan.readable:
            rules.allow(path, landlock.READ)
        _allow_devices(rules)
        if scratch:
            rules.allow(scratch, landlock.READ_WRITE)
        return rules


def _allow_devices(rules: landlock.Ruleset) -> None:
    rules.allow("/dev/null", landlock.READ_FILE | landlock.WRITE_FILE)
    rules.allow("/dev/urandom", landlock.READ_FILE)


def _allow_beside(rules: landlock.Ruleset, path: str, hidden: tuple[str, ...]) -> None:
    """Allow reading all that lies below a path but not what is hidden, of which only names can be listed."""
    if path in hidden:
        return
    if not any(other.startswith(f"{path}/") for other in hidden):
        with suppress(FileNotFoundError):  # it has gone meanwhile
            rules.allow(path, landlock.READ)
        return
    rules.allow(path, landlock.READ_DIR)
    for name in os.listdir(path):
        if not os.path.islink(f"{path}/{name}"):  # which opens what it leads to, perhaps what is hidden
            _allow_beside(rules, f"{path}/{name}", hidden)


def _keep_only(channel: int, written: int) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    # All are above 2, as the zygote has had its own there from the start.
    for standard in (1, 2):
        os.dup2(written, standard)
    os.dup2(null, 0)
    if channel != GUEST_FD:
        os.dup2(channel, GUEST_FD)
    os.set_inheritable(GUEST_FD, False)
    libc.close_from(GUEST_FD + 1)
