"""Execute an image's steps and commands without an engine, in roots of their own.

A root is a folder with what `python:…-slim` has: the programs of Debian's essential
packages, an interpreter, no compiler. Each step runs in it by `chroot`, in namespaces
of its own, so that paths, users, read-only mounts and process numbers are real ones.
That needs Linux and root; layers, build contexts and registries need an engine.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .support import Process, environment, link_tree, run
from .test_kit import build_context, read_dockerfile

# What Debian's slim image and Python's have beyond the essential packages.
PACKAGES = ("passwd", "ca-certificates", "netbase", "tzdata")
ETC = ("passwd", "group", "shadow", "gshadow", "login.defs", "default", "nsswitch.conf")
ETC += ("hosts", "resolv.conf", "ssl", "pip.conf", "ld.so.cache", "localtime")
# How this machine reaches its package index.
NETWORK = re.compile(r"(PIP_|UV_(DEFAULT_)?INDEX|SSL_CERT|[a-z]+_proxy)", re.I)
BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
LOOPBACK_UP = (
    "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, "
    "struct.pack('16sH14x', b'lo', 1))"
)


def base_root(root: Path) -> Path:
    """Make a root that has what the base image has."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("dev", "proc", "etc", "root", "run", "usr/share", "usr/local"):
        (root / name).mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    for name in ETC:
        source = Path("/etc", name)
        if source.is_dir():
            shutil.copytree(source, root / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy2(source, root / "etc" / name)
    for program in programs():
        target = root / "usr" / program.parent.resolve().name / program.name
        shutil.copy2(program, target, follow_symlinks=False)
    (root / "usr/bin/sh").unlink(missing_ok=True)
    (root / "usr/bin/sh").symlink_to("dash")
    install_python(root / "usr/local")
    return root


def install_python(prefix: Path) -> None:
    """Give a root this interpreter, with pip and nothing else beside its library."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (prefix / "bin").mkdir()
    for alias in ("python", "python3"):
        (prefix / "bin" / alias).symlink_to(name)
    shutil.copy2(Path(sys.base_prefix) / "bin" / name, prefix / "bin")
    shutil.copytree(
        Path(sys.base_prefix) / "lib" / name,
        prefix / "lib" / name,
        copy_function=link_or_copy,
        ignore=shutil.ignore_patterns("site-packages", "test", "idlelib"),
    )
    install = ("-m", "ensurepip", "--default-pip")
    run(prefix / "bin" / name, *install, cwd=prefix, env={"PATH": "/usr/bin"})
    for script in (prefix / "bin").glob("pip*"):
        text = script.read_text()
        script.write_text(text.replace(str(prefix), "/usr/local"))


def programs() -> Iterator[Path]:
    """Yield the programs of the packages that the base image has."""
    form = "${Essential} ${Package}\n"
    listed = subprocess.check_output(["dpkg-query", "-W", "-f", form], text=True)
    essential = re.findall(r"(?m)^yes (\S+)$", listed)
    command = ["dpkg-query", "-L", *essential, *PACKAGES]
    for line in subprocess.check_output(command, text=True).splitlines():
        if re.fullmatch(r"(/usr)?/s?bin/[^/]+", line) and Path(line).exists():
            yield Path(line)


class Container:
    """A root, and the settings that an image's instructions gave it."""

    def __init__(self, root: Path, parent: "Container | None" = None) -> None:
        self.root = root
        self.env = dict(parent.env) if parent else {"PATH": BASE_PATH}
        self.directory = parent.directory if parent else "/"
        self.user = parent.user if parent else "0"
        self.entrypoint = list(parent.entrypoint) if parent else []
        self.command = list(parent.command) if parent else []
        self.health = list(parent.health) if parent else []
        if parent:
            link_tree(parent.root, root)
        else:
            base_root(root)

    def arguments(
        self,
        *command: str,
        env: dict[str, str] | None = None,
        read_only: bool = False,
        own_network: bool = False,
        group: int = 0,
        mounts: dict[str, Path] | None = None,
    ) -> list[str]:
        """Return the command line that runs a command in this root, as process 1."""
        root = shlex.quote(str(self.root))
        script = ["set -e", f"mount --bind {root} {root}"]
        shared = ("/usr/lib", "/usr/lib64", "/usr/share", sys.base_prefix)
        for path in shared:
            (self.root / path[1:]).mkdir(parents=True, exist_ok=True)
            script.append(f"mount --bind -o ro {path} {root}{path}")
        script += [f"mount --rbind /dev {root}/dev", f"mount -t proc proc {root}/proc"]
        if read_only:
            script.append(f"mount -o remount,bind,ro {root}")
            script.append(f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp")
        for target, source in (mounts or {}).items():
            (self.root / target[1:]).mkdir(parents=True, exist_ok=True)
            script.append(f"mount --bind {shlex.quote(str(source))} {root}{target}")
            # What uv remembers of interpreters, by path, does not hold in here.
            for path in source.glob("interpreter-*"):
                script.append(f"mount -t tmpfs tmpfs {root}{target}/{path.name}")
        if own_network:
            script.append(f"{sys.executable} -c {shlex.quote(LOOPBACK_UP)}")
        inside = f"cd {self.directory} && exec {shlex.join(command)}"
        settings = [f"{k}={v}" for k, v in {**self.env, **(env or {})}.items()]
        drop = ["setpriv", f"--reuid={self.user}", f"--regid={group}", "--clear-groups"]
        drop += ["--no-new-privs", "--bounding-set=-all"] if self.user != "0" else []
        within = ["chroot", str(self.root), "/usr/bin/env", "-i", *settings, *drop]
        script.append(f"exec {shlex.join([*within, 'sh', '-c', inside])}")
        network = ["--net"] if own_network else []
        unshare = ["unshare", "--mount", "--pid", "--fork", *network]
        return [*unshare, "sh", "-c", "\n".join(script)]

    def run(self, *command: str, check: bool = True, **options: object) -> Process:
        """Run a command in this root."""
        line = self.arguments(*command, **options)  # type: ignore[arg-type]
        return run(*line, cwd=Path("/"), check=check, env=environment(), timeout=900)

    @contextmanager
    def start(self, *command: str, **options: object) -> Iterator["Running"]:
        """Run a command in the background, and end it as an engine does."""
        log = self.root.with_name(f"{self.root.name}-{time.monotonic_ns()}.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.arguments(*command, **options),  # type: ignore[arg-type]
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        running = Running(process, log)
        try:
            yield running
        finally:
            if process.poll() is None and running.children.read_text():
                running.stop(signal.SIGKILL)


class Running:
    """A started container."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log
        self.children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self.wait_until(lambda: bool(self.children.read_text()), 10)

    @property
    def first(self) -> int:
        """The number, outside, of the process that is number 1 inside."""
        children = self.children.read_text().split()
        assert children, f"It has ended:\n{self.log.read_text()[-6000:]}"
        return int(children[0])

    def ask(self, *command: str) -> Process:
        """Run a command in the container's namespaces, as `docker exec` does."""
        enter = ["nsenter", f"--target={self.first}", "--mount", "--net", "--root"]
        return run(*enter, *command, cwd=Path("/"), check=False, env=environment())

    def wait_until(self, holds: Callable[[], bool], seconds: float = 120) -> None:
        """Wait for something that the container is to do."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None, self.log.read_text()[-6000:]
            assert time.monotonic() < deadline, self.log.read_text()[-6000:]
            time.sleep(0.2)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to process 1, wait, and return its exit status."""
        os.kill(self.first, number)
        return self.process.wait(timeout=60)


Stages = dict[str, Container]


def build(project: Path, last: str, folder: Path, **contexts: Path) -> Stages:
    """Execute the steps of a Dockerfile up to the end of a stage; return all stages."""
    context = build_context(project)
    stages: Stages = {}
    arguments: dict[str, str] = {}
    stage, current = "", None
    for word, rest, body in read_dockerfile(project / "Dockerfile"):
        if word == "FROM":
            if stage == last:
                break
            parent, stage = rest.split()[0], rest.split()[-1]
            if parent != "scratch":
                current = Container(folder / stage, stages.get(parent))
                stages[stage] = current
        elif word == "ARG":
            arguments.update([rest.split("=", 1)])
        elif current is not None:
            step(
                current, word, rest, body, arguments, project, context, stages, contexts
            )
    return stages


def step(
    on: Container,
    word: str,
    rest: str,
    body: str,
    arguments: dict[str, str],
    project: Path,
    context: set[str],
    stages: Stages,
    contexts: dict[str, Path],
) -> None:
    """Do what one instruction says."""
    if word == "ENV":
        for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
            on.env[name] = value.replace("$PATH", on.env["PATH"])
    elif word == "WORKDIR":
        on.directory = rest
        (on.root / rest[1:]).mkdir(exist_ok=True)
    elif word == "USER":
        on.user = rest
    elif word in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
        found = re.search(r"\[.*\]", rest)
        assert found, f"{word} {rest} is not in the form that gets signals."
        words = [str(one) for one in json.loads(found[0])]
        name = {"ENTRYPOINT": "entrypoint", "CMD": "command", "HEALTHCHECK": "health"}
        setattr(on, name[word], words)
    elif word == "COPY":
        copy(on, shlex.split(rest), body, project, context, stages, contexts)
    elif word == "RUN":
        cached = re.search(r"--mount=type=cache,target=(\S+)", rest)
        mounts = {cached[1]: uv_cache()} if cached else {}
        command = re.sub(r"--mount=\S+ *", "", rest)
        network = {k: v for k, v in os.environ.items() if NETWORK.match(k)}
        network.pop("PIP_FIND_LINKS", None)
        on.run("sh", "-c", command, env={**arguments, **network}, mounts=mounts)
    else:
        assert word == "EXPOSE", f"{word} was not executed."


def uv_cache() -> Path:
    """Return the folder in which uv keeps what it downloaded."""
    return Path(run("uv", "cache", "dir", cwd=Path("/")).stdout.strip())


def copy(
    on: Container,
    arguments: list[str],
    body: str,
    project: Path,
    context: set[str],
    stages: Stages,
    contexts: dict[str, Path],
) -> None:
    """Copy a file in the Dockerfile, a stage's or a context's, or the project's."""
    options = dict(a[2:].split("=", 1) for a in arguments if a.startswith("--"))
    *sources, target = [a for a in arguments if not a.startswith("--")]
    to = on.root / os.path.join(on.directory, target).lstrip("/")
    if body:
        to.write_text(body)
        to.chmod(int(options.get("chmod", "644"), 8))
    elif name := options.get("from"):
        (source,) = sources
        found = contexts.get(name) or stages[name].root
        shutil.copytree(
            found / source.lstrip("/"),
            to,
            symlinks=True,
            dirs_exist_ok=True,
            copy_function=link_or_copy,
        )
    else:
        for pattern in sources:
            inside = [n for n in context if n.startswith(f"{pattern}/")]
            names = inside or fnmatch.filter(context, pattern)
            assert names or "*" in pattern, f"COPY {pattern} finds nothing"
            for name in names:
                below = Path(name).relative_to(pattern) if inside else Path(name)
                (to / below).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(project / name, to / below)


def link_or_copy(source: str, target: str) -> None:
    """Link a file where the file system can, as layers share what they hold."""
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
