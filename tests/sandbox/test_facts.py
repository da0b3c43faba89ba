"""Machines of every kind, made of a few files each: what is found out about them, and what would mend them."""

from pathlib import Path

import pytest

from stepwell_sandbox.facts import Facts, os_family, read_facts
from stepwell_sandbox.report import Report, describe
from stepwell_server.cli.isolation import isolation_findings

DEBIAN = 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"'
UBUNTU = 'ID=ubuntu\nID_LIKE=debian\nPRETTY_NAME="Ubuntu 24.04.1 LTS"'
FEDORA = 'ID=fedora\nPRETTY_NAME="Fedora Linux 42"'
RULE = {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}
EXTRA_PROFILE = {"/usr/share/apparmor/extra-profiles/bwrap-userns-restrict": "profile"}
LOADED_PROFILE = {"/etc/apparmor.d/bwrap-userns-restrict": "profile"}
LOAD = "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict"
LINK = "sudo ln -sf /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/"
FILTERED = {"/proc/self/status": "Name:\tpython\nSeccomp:\t2\n"}
PLAIN = {
    "/etc/os-release": DEBIAN,
    "/proc/sys/kernel/osrelease": "6.12.1-amd64\n",
    "/proc/sys/user/max_user_namespaces": "15000\n",
    "/proc/self/status": "Name:\tpython\nSeccomp:\t0\n",
    "/proc/self/uid_map": "         0          0 4294967295\n",
    "/sys/kernel/security/lsm": "lockdown,capability,landlock,yama,apparmor,bpf",
}

Variables = dict[str, str]


class Machine:
    """Files below a folder that stand for a machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write(PLAIN)

    def write(self, files: dict[str, str]) -> "Machine":
        for path, text in files.items():
            target = self.root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return self

    def with_bubblewrap(self, version: str = "0.12.1", mode: int = 0o755) -> "Machine":
        self.write({"/usr/bin/bwrap": f"#!/bin/sh\necho bubblewrap {version}\n"})
        (self.root / "usr/bin/bwrap").chmod(mode)
        return self

    def facts(self, landlock: int = 7, environment: Variables | None = None, system: str = "linux") -> Facts:
        return read_facts(landlock, self.root, environment or {}, system, "x86_64")

    def report(
        self, level: str, minimum: str = "B", *, landlock: int = 7, environment: Variables | None = None
    ) -> Report:
        facts = self.facts(landlock, environment)
        return describe(minimum, level, facts, (("A", "it does not start"),), ())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def mend_of(report: Report, layer: str) -> str:
    return next(found.mend for found in report.layers if found.name == layer)


def test_a_plain_machine_with_everything_needs_no_mending(machine: Machine) -> None:
    report = machine.with_bubblewrap().report("A")

    assert report.facts.bubblewrap is not None
    assert report.facts.bubblewrap.version == (0, 12, 1)
    assert (report.facts.bubblewrap.refusal, report.facts.bubblewrap.warning) == ("", "")
    assert not report.facts.container
    assert not report.facts.nested_in
    assert all(layer.present and not layer.mend for layer in report.layers)
    assert (report.losses, report.hint, report.missing) == ((), "", ())


@pytest.mark.parametrize(
    ("release", "command"),
    [
        (DEBIAN, "sudo apt-get install -y bubblewrap"),
        (UBUNTU, "sudo apt-get install -y bubblewrap"),
        (FEDORA, "sudo dnf install -y bubblewrap"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "sudo dnf install -y bubblewrap"),
        ("ID=arch", "sudo pacman -S --noconfirm bubblewrap"),
        ("ID=nixos", "install the package bubblewrap, 0.8 or newer"),
    ],
)
def test_without_bubblewrap_the_distributions_command_installs_it(release: str, command: str, machine: Machine) -> None:
    report = machine.write({"/etc/os-release": release}).report("B")
    assert mend_of(report, "bubblewrap namespaces") == mend_of(report, "namespaces per run") == command


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({}, f"sudo apt-get install -y apparmor-profiles && {LINK} && {LOAD}"),
        (EXTRA_PROFILE, f"{LINK} && {LOAD}"),
        (EXTRA_PROFILE | LOADED_PROFILE, LOAD),
    ],
)
def test_ubuntu_gets_its_own_profile_and_never_the_global_switch(
    files: dict[str, str], command: str, machine: Machine
) -> None:
    machine.with_bubblewrap("0.9.0").write({"/etc/os-release": UBUNTU} | RULE | files)
    report = machine.report("B")
    assert mend_of(report, "bubblewrap namespaces") == command
    assert "apparmor_restrict" not in report.hint

    mended = machine.report("A2")
    assert mend_of(mended, "namespaces per run").startswith("nothing that keeps Ubuntu's rule")
    assert len(mended.losses) == 3


def test_ubuntus_profile_is_no_use_to_a_bubblewrap_of_ones_own(machine: Machine, tmp_path: Path) -> None:
    machine.write({"/etc/os-release": UBUNTU, "/opt/bin/bwrap": "#!/bin/sh\necho bubblewrap 0.11.0\n"} | RULE)
    (tmp_path / "opt/bin/bwrap").chmod(0o755)
    report = machine.report("B", environment={"PATH": str(tmp_path / "opt/bin")})
    assert mend_of(report, "bubblewrap namespaces").startswith("sudo apt-get install -y bubblewrap && ")


def test_a_setuid_bubblewrap_is_refused(machine: Machine) -> None:
    report = machine.with_bubblewrap("0.11.0", 0o4755).report("B")
    assert report.facts.bubblewrap is not None
    assert "setuid root" in report.facts.bubblewrap.refusal
    assert mend_of(report, "bubblewrap namespaces").startswith("sudo chmod u-s /")


@pytest.mark.parametrize(
    ("version", "refused", "warned"),
    [
        ("0.6.1", True, False),
        ("0.8.0", False, True),
        ("0.11.2", False, True),
        ("0.12.0", False, False),
        ("", True, False),
    ],
)
def test_the_version_of_bubblewrap_decides(version: str, refused: bool, warned: bool, machine: Machine) -> None:
    report = machine.with_bubblewrap(version).report("B")
    found = report.facts.bubblewrap
    assert found is not None
    assert (bool(found.refusal), "CVE-2026-87766" in found.warning) == (refused, warned)
    assert ("needed: 0.8" in mend_of(report, "bubblewrap namespaces")) is refused


@pytest.mark.parametrize(
    ("files", "environment", "container", "said"),
    [
        ({"/.dockerenv": ""}, {}, "docker", "docker run --security-opt seccomp=stepwell-seccomp.json"),
        ({"/run/.containerenv": ""}, {}, "podman", "podman run --security-opt seccomp=stepwell-seccomp.json"),
        ({"/.dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes", "type: Localhost"),
        ({"/proc/1/cgroup": "0::/docker/abc"}, {}, "docker", '"pivot_root"'),
        ({}, {"container": "systemd-nspawn"}, "systemd-nspawn", "seccomp"),
    ],
)
def test_in_a_container_its_start_is_mended(
    files: dict[str, str], environment: dict[str, str], container: str, said: str, machine: Machine
) -> None:
    report = machine.with_bubblewrap().write(files | FILTERED).report("B", environment=environment)
    assert report.facts.container == container
    assert said in mend_of(report, "bubblewrap namespaces")


@pytest.mark.parametrize(
    ("kernel", "generation", "spaces", "landlock"),
    [
        ("4.4.0-19041-Microsoft", 1, "wsl --set-version <distribution> 2", "wsl --set-version"),
        ("5.15.153.1-microsoft-standard-WSL2", 2, "sysctl user.max_user_namespaces", "wsl --update"),
    ],
)
def test_the_windows_subsystem_is_told_apart(
    kernel: str, generation: int, spaces: str, landlock: str, machine: Machine
) -> None:
    machine.with_bubblewrap().write({"/proc/sys/kernel/osrelease": kernel, "/sys/kernel/security/lsm": "lockdown"})
    report = machine.report("", landlock=0)
    assert report.facts.wsl == generation
    assert mend_of(report, "bubblewrap namespaces").startswith(spaces)
    assert landlock in mend_of(report, "Landlock")


@pytest.mark.parametrize(
    ("environment", "files", "program", "said"),
    [
        ({"CODEX_SANDBOX_NETWORK_DISABLED": "1"}, FILTERED, "Codex", "stepwell setup codex"),
        ({"SANDBOX_RUNTIME": "1"}, FILTERED, "the sandbox of Claude Code", "stepwell setup claude-code"),
        ({}, {"/.flatpak-info": ""}, "Flatpak", "outside of Flatpak"),
        (
            {},
            {"/proc/self/uid_map": "0 100000 65536\n"},
            "a user namespace of another sandbox",
            "allow user namespaces",
        ),
        (
            {},
            {"/proc/self/uid_map": "1000 1000 1\n", "/.dockerenv": ""},
            "a user namespace of another sandbox",
            "allow user namespaces",
        ),
    ],
)
def test_inside_another_programs_sandbox_it_is_named(
    environment: dict[str, str], files: dict[str, str], program: str, said: str, machine: Machine
) -> None:
    report = machine.with_bubblewrap().write(files).report("B", environment=environment)
    assert report.facts.nested_in == program
    assert said in mend_of(report, "bubblewrap namespaces")
    assert said in mend_of(machine.report("", landlock=0, environment=environment), "Landlock")
    texts = [finding.text for finding in isolation_findings(report) if finding.name == "surroundings"]
    assert program in texts[0]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"/proc/sys/kernel/unprivileged_userns_clone": "0"}, "kernel.unprivileged_userns_clone=1"),
        ({"/proc/sys/user/max_user_namespaces": "0", "/etc/os-release": FEDORA}, "user.max_user_namespaces=15000"),
        (FILTERED, "allow clone, mount, pivot_root"),
        ({}, "they must not be 0"),
    ],
)
def test_a_setting_that_forbids_namespaces_is_named(files: dict[str, str], said: str, machine: Machine) -> None:
    assert said in mend_of(machine.with_bubblewrap().write(files).report("B"), "bubblewrap namespaces")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"/sys/kernel/security/lsm": "capability,yama"}, 'GRUB_CMDLINE_LINUX lsm=landlock,yama"'),
        ({"/etc/os-release": FEDORA, "/sys/kernel/security/lsm": "selinux"}, 'grubby --update-kernel=ALL --args="lsm=landlock,selinux"'),
        ({"/etc/os-release": "ID=arch", "/sys/kernel/security/lsm": ""}, "add lsm=landlock,lockdown"),
        ({"/proc/sys/kernel/osrelease": "5.4.0-150-generic", "/sys/kernel/security/lsm": ""}, "needs Linux 5.13"),
        (FILTERED, "allow the landlock_* calls"),
    ],
)  # fmt: skip
def test_landlock_is_brought_by_the_machines_own_means(files: dict[str, str], said: str, machine: Machine) -> None:
    report = machine.write(files).report("", landlock=0)
    assert said in mend_of(report, "Landlock")


PROFILE = (
    "curl -fsSL https://raw.githubusercontent.com/moby/profiles/main/seccomp/default.json | "
    'jq \'.syscalls += [{names: ["clone", "mount", "pivot_root", "sethostname", "setns", "umount2", "unshare"], '
    'action: "SCMP_ACT_ALLOW"}]\' > stepwell-seccomp.json'
)
PROFILES = (
    f"{PROFILE} && printf 'abi <abi/4.0>,\\nprofile stepwell flags=(unconfined) {{\\n  userns,\\n}}\\n' | "
    "sudo tee /etc/apparmor.d/stepwell && sudo apparmor_parser -r /etc/apparmor.d/stepwell"
)
STARTS = (
    "on the machine that starts the container: {}\n"
    "{} run --security-opt seccomp=stepwell-seccomp.json --security-opt apparmor={} ...\n"
    "(or, wider: --security-opt seccomp=unconfined; --privileged is not needed)"
)
DOCKER = {"/.dockerenv": "", "/sys/kernel/security/lsm": ""}
WSL2 = {
    "/proc/sys/kernel/osrelease": "6.6.87.2-microsoft-standard-WSL2\n",
    "/sys/kernel/security/lsm": "capability,yama",
}


@pytest.mark.parametrize(
    ("files", "landlock", "layer", "command"),
    [
        (DOCKER | FILTERED, 7, "bubblewrap namespaces", STARTS.format(PROFILE, "docker", "unconfined")),
        (DOCKER | FILTERED | RULE, 7, "bubblewrap namespaces", STARTS.format(PROFILES, "docker", "stepwell")),
        # Allowed all, but run as a user: AppArmor's rule holds for what has no profile.
        (DOCKER | RULE, 7, "bubblewrap namespaces", STARTS.format(PROFILES, "docker", "stepwell")),
        (DOCKER | FILTERED, 0, "Landlock", "Docker before 23 forbids it: update it, or allow the landlock_* calls in the filter around the server. If /sys/kernel/security/lsm of the machine that runs the container does not name it: echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX lsm=landlock,lockdown,yama,integrity,apparmor,bpf\"' | sudo tee /etc/default/grub.d/landlock.cfg && sudo update-grub && sudo reboot"),
        ({"/run/.containerenv": ""} | FILTERED, 7, "bubblewrap namespaces", STARTS.format(PROFILE, "podman", "unconfined")),
        ({"/etc/os-release": UBUNTU} | RULE | EXTRA_PROFILE, 7, "bubblewrap namespaces", f"{LINK} && {LOAD}"),
        ({"/proc/sys/kernel/unprivileged_userns_clone": "0"}, 7, "bubblewrap namespaces", "echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/60-user-namespaces.conf && sudo sysctl --system"),
        ({"/etc/os-release": FEDORA, "/proc/sys/user/max_user_namespaces": "0"}, 7, "bubblewrap namespaces", "echo user.max_user_namespaces=15000 | sudo tee /etc/sysctl.d/60-user-namespaces.conf && sudo sysctl --system"),
        ({"/etc/os-release": FEDORA, "/sys/kernel/security/lsm": "capability,selinux"}, 0, "Landlock", 'sudo grubby --update-kernel=ALL --args="lsm=landlock,selinux" && sudo reboot'),
        (WSL2, 0, "Landlock", "in PowerShell: wsl --update; add to %UserProfile%\\.wslconfig: [wsl2]\\nkernelCommandLine = lsm=landlock,lockdown,yama,integrity,bpf; then: wsl --shutdown"),
    ],
)  # fmt: skip
def test_each_surrounding_gets_its_exact_command(
    files: dict[str, str], landlock: int, layer: str, command: str, machine: Machine
) -> None:
    report = machine.with_bubblewrap().write(files).report("", landlock=landlock)
    assert mend_of(report, layer) == command


def test_a_minimum_that_is_not_reached_names_the_layer(machine: Machine) -> None:
    machine.with_bubblewrap().write({"/etc/os-release": UBUNTU} | RULE)
    for_namespaces = machine.report("", "A2")
    assert "cannot isolate at level A2 or better, no bubblewrap namespaces (A: " in for_namespaces.refusal
    assert for_namespaces.hint.startswith("bubblewrap namespaces: sudo apt-get")
    assert "namespaces per run" not in for_namespaces.hint

    for_landlock = machine.report("", landlock=0)
    assert "no Landlock" in for_landlock.refusal
    assert for_landlock.hint.startswith("Landlock: ")
    (level, *_) = isolation_findings(for_landlock)
    assert (level.verdict, level.details["missing"]) == ("fail", ["Landlock"])


def test_other_systems_are_sent_to_linux(machine: Machine) -> None:
    windows = describe("B", "", machine.facts(0, system="win32"), (("A", "no"),), ())
    assert {layer.mend for layer in windows.layers} == {"run the server in WSL 2: wsl --install -d Ubuntu"}
    assert windows.facts.bubblewrap is None


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('ID=ubuntu\nID_LIKE=debian\nNAME="Ubuntu"', "debian"),
        ("ID=debian", "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "fedora"),
        ("ID=arch", "arch"),
        ("ID=opensuse-leap\nID_LIKE='suse opensuse'", "suse"),
        ("ID=nixos", ""),
        ("", ""),
    ],
)
def test_the_family_of_a_distribution_is_known(text: str, family: str) -> None:
    assert os_family(text) == family
