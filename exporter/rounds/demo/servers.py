"""MariaDB and PostgreSQL for the demo: real servers on loopback, with their data in a temporary folder.

Who may do what in them stands in the files that containers are given, ``exporter/demo.sql`` and its like; here each
user has a password that nobody knows, in a file that only who runs the demo can read. A server refuses to run as root,
so root's demo lets another user run it.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pymysql

from rounds.demo import clinic_writer, pipeline_writer
from rounds.demo.ports import LOOPBACK
from rounds.demo.processes import Child, ChildDiedError

#: Where programs of servers are that are not in everybody's path.
FOLDERS: Sequence[Path] = (Path("/usr/sbin"), *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
#: Where the users of containers have their passwords in the files.
_PASSWORD = re.compile(r"(CREATE (?:USER|ROLE) (\w+)\b[^;]*?)'synthetic'")
_COMPLAINT = re.compile("error|fatal", re.IGNORECASE)
_COMMENT = re.compile(r"^--.*$", re.MULTILINE)
#: Pauses between attempts to log in.
_LOOK = 0.1


class NoServerError(Exception):
    """There is no server. The message completes the sentence "..., as ..."."""


@dataclass(frozen=True)
class Place:
    """A database on a server.

    Attributes:
        kind: of a source that reads it.
        port: where the server listens on 127.0.0.1.
        database: its name.
        writer: who makes the tables.
        passwords: files that hold those of each user.
    """

    kind: str
    port: int
    database: str
    writer: str
    passwords: Mapping[str, Path]

    @property
    def flags(self) -> list[str]:
        """For the program that writes there."""
        return [f"--{self.kind}={LOOPBACK}:{self.port}", f"--password-file={self.passwords[self.writer]}"]

    def source(self, user: str = "rounds") -> dict[str, Any]:
        """A source's configuration."""
        place = {"kind": self.kind, "host": LOOPBACK, "port": self.port, "database": self.database}
        return {**place, "user": user, "password_file": str(self.passwords[user])}


class Server(abc.ABC):
    """A server that ends with the demo, however that ends.

    Args:
        folder: where its log and the files with passwords are.
        pick: a free port for it; asked for as late as can be, since others look for one too.
    """

    #: The file of a checkout that says who may do what.
    grants: ClassVar[str]
    #: What it is called, the Debian package that has it, and who runs it where root runs the demo.
    name: ClassVar[str]
    package: ClassVar[str]
    account: ClassVar[str]
    #: Of a source that reads it; the database; who writes there.
    kind: ClassVar[str]
    database: ClassVar[str]
    writer: ClassVar[str]
    #: The package of Python that must be there besides, where it is an extra.
    driver: ClassVar[str] = ""
    #: The program that makes its folder, the server itself, and the signal that ends it at once.
    installer: ClassVar[str]
    program: ClassVar[str]
    end: ClassVar[signal.Signals]

    def __init__(self, folder: Path, pick: Callable[[], int]) -> None:
        self._folder = folder
        self._children: list[Child] = []
        self._stack = contextlib.ExitStack()
        self._passwords: dict[str, Path] = {}
        self._statements: list[str] = []
        self._pick = pick
        self.port = 0

    async def start(self) -> Place:
        """Make its folder and start it.

        Raises:
            NoServerError: it is not there, or cannot be started.
        """
        installer, program = _find(self.installer), _find(self.program)
        if installer is None or program is None:
            raise NoServerError(f"{self.name} is not installed: run `apt-get install {self.package}` first")
        if self.driver and importlib.util.find_spec(self.driver) is None:
            extra = f"rounds-exporter[{self.kind}]"
            raise NoServerError(f"the driver of {self.name} is not installed: run `pip install '{extra}'` first")
        grants = Path(__file__).parents[2] / self.grants
        if not grants.is_file():
            raise NoServerError(f"an installed package has no users for {self.name}: run the demo from a checkout")
        user = self._unprivileged()
        try:
            temporary = tempfile.TemporaryDirectory(
                prefix=f"rounds-demo-{self.kind}-", ignore_cleanup_errors=True, dir=self._near(user)
            )
            home = Path(self._stack.enter_context(temporary))
            self._make_users(grants.read_text(encoding="utf-8"))
            self._prepare(home)
            _give(home, user)
            child = self._child("setup", [installer, *self._install(home)], home, user)
            await child.start()
            await child.done()
            self.port = self._pick()
            child = self._child("server", [program, *self._run(home)], home, user)
            await child.start()
            await child.lives_until(self._ready(), 60.0, "is not ready")
        except (ChildDiedError, OSError) as error:
            await self.stop()
            raise NoServerError(f"{self.name} cannot be started: {_reason(error)}") from error
        return self._place()

    @property
    def children(self) -> list[Child]:
        """Those that should run until :meth:`stop`."""
        return self._children[1:]

    async def stop(self) -> None:
        """End it, and delete its folder."""
        try:
            for child in self._children:
                await child.stop()
        finally:
            self._stack.close()

    @abc.abstractmethod
    def _prepare(self, home: Path) -> None:
        """Write the files that are needed at the start; what is in them is for the server alone."""

    @abc.abstractmethod
    def _install(self, home: Path) -> list[str]:
        """Arguments of the installer."""

    @abc.abstractmethod
    def _run(self, home: Path) -> list[str]:
        """Arguments of the server."""

    @abc.abstractmethod
    def _set_up(self) -> None:
        """Find out whether it is this server that answers, and that its users are there.

        Raises:
            ConnectionError: it does not answer yet.
        """

    async def _ready(self) -> None:
        while True:
            with contextlib.suppress(ConnectionError):
                await asyncio.to_thread(self._set_up)
                return
            await asyncio.sleep(_LOOK)

    def _place(self) -> Place:
        return Place(self.kind, self.port, self.database, self.writer, self._passwords)

    def _child(self, word: str, command: Sequence[str], home: Path, user: str) -> Child:
        child = Child(f"{self.kind}-{word}", command, self._folder, user=user, home=home, end=self.end)
        self._children.append(child)
        return child

    def _unprivileged(self) -> str:
        """Who is to run it; empty for who runs the demo."""
        if os.geteuid() != 0:
            return ""
        for user in (self.account, "nobody"):
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(user).pw_name
        raise NoServerError(f"{self.name} does not run as root, and there is no user {self.account} or nobody")

    def _near(self, user: str) -> Path | None:
        """Where its folder is made: in the demo's, which others cannot enter."""
        return None if user else self._folder

    def _make_users(self, grants: str) -> None:
        """Files with new passwords, and statements that make the users who have them."""

        def give(found: re.Match[str]) -> str:
            self._passwords[found[2]] = file = self._folder / f"{self.kind}-{found[2]}.password"
            password = secrets.token_urlsafe(24)
            write_secret(file, password)
            return f"{found[1]}'{password}'"

        text = _PASSWORD.sub(give, _COMMENT.sub("", grants))
        self._statements = [" ".join(each.split()) for each in text.split(";") if each.strip()]


class Mariadb(Server):
    """A MariaDB server. Its root can log in by the socket alone, as the user ``mysql`` of the machine."""

    name, package, account = "MariaDB", "mariadb-server", "mysql"
    grants, kind, database, writer = "demo.sql", "mariadb", pipeline_writer.DATABASE, pipeline_writer.USER
    installer, program, end = "mariadb-install-db", "mariadbd", signal.SIGKILL

    #: What need not outlast the machine need not be safe on its disk; and there is little of it.
    _FAST = (
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=0",
        "--innodb-flush-method=nosync",
        "--innodb-log-file-size=16M",
        "--innodb-buffer-pool-size=64M",
        "--sync-binlog=0",
    )

    def _prepare(self, home: Path) -> None:
        nobody = "DELETE FROM mysql.global_priv WHERE User = ''"
        made = (nobody, "FLUSH PRIVILEGES", f"CREATE DATABASE {self.database}", *self._statements)
        # It takes one statement a line.
        write_secret(home / "start.sql", "".join(f"{each};\n" for each in made))

    def _install(self, home: Path) -> list[str]:
        root = ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={self.account}"]
        return [*self._common(home), *root, "--skip-test-db", "--skip-name-resolve", *self._FAST]

    def _run(self, home: Path) -> list[str]:
        # A path of a socket must be short, so it is relative to the data.
        listen = [f"--port={self.port}", f"--bind-address={LOOPBACK}", "--socket=socket", "--skip-name-resolve"]
        files = [f"--pid-file={home / 'pid'}", f"--init-file={home / 'start.sql'}", "--max-connections=30"]
        return [*self._common(home), *listen, *files, *self._FAST]

    def _set_up(self) -> None:
        """Its file has been gone through before it greets anybody."""
        given = {"user": self.writer, "password": self._passwords[self.writer].read_text(encoding="utf-8")}
        try:
            pymysql.connect(host=LOOPBACK, port=self.port, database=self.database, connect_timeout=2, **given).close()
        except pymysql.MySQLError as error:
            raise ConnectionError from error

    @staticmethod
    def _common(home: Path) -> list[str]:
        return ["--no-defaults", f"--datadir={home / 'data'}", f"--tmpdir={home}"]


class Postgresql(Server):
    """A PostgreSQL server."""

    name, package, account = "PostgreSQL", "postgresql", "postgres"
    grants, kind, database, writer = "demo-postgresql.sql", "postgresql", clinic_writer.DATABASE, clinic_writer.USER
    installer, program, end = "initdb", "postgres", signal.SIGQUIT
    driver = "psycopg"

    _ADMIN = "admin"
    _FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=30")

    def __init__(self, folder: Path, pick: Callable[[], int]) -> None:
        super().__init__(folder, pick)
        self._password = secrets.token_urlsafe(24)

    def _prepare(self, home: Path) -> None:
        write_secret(home / "password", self._password)

    def _install(self, home: Path) -> list[str]:
        who = [f"--username={self._ADMIN}", f"--pwfile={home / 'password'}", "--auth=scram-sha-256"]
        return [f"--pgdata={home / 'data'}", *who, "--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions"]

    def _run(self, home: Path) -> list[str]:
        settings = (*self._FAST, f"listen_addresses={LOOPBACK}", f"port={self.port}", "unix_socket_directories=")
        return ["-D", str(home / "data"), *(part for each in settings for part in ("-c", each))]

    def _set_up(self) -> None:
        self._sql("postgres", [f"CREATE DATABASE {self.database}"])
        self._sql(self.database, self._statements)

    def _sql(self, database: str, statements: Sequence[str]) -> None:
        """Run statements as the administrator.

        Raises:
            ConnectionError: it does not answer yet.
            OSError: it refuses a statement.
        """
        import psycopg  # noqa: PLC0415  # only where there is a server

        given: dict[str, Any] = {"user": self._ADMIN, "password": self._password, "connect_timeout": 2}
        try:
            connection = psycopg.connect(host=LOOPBACK, port=self.port, dbname=database, autocommit=True, **given)
        except psycopg.OperationalError as error:
            raise ConnectionError from error
        with contextlib.closing(connection):
            try:
                for statement in statements:
                    connection.execute(statement.encode())
            except psycopg.Error as error:
                raise OSError(f"its users cannot be made: {type(error).__name__}") from error


def write_secret(file: Path, text: str) -> None:
    """Write a new file that nobody else can read."""
    file.touch(mode=0o600, exist_ok=False)
    file.write_text(text, encoding="utf-8")


def _give(folder: Path, user: str) -> None:
    """Give a folder and what is in it to somebody; to nobody where that is empty."""
    for each in (folder, *folder.iterdir()) if user else ():
        shutil.chown(each, user)


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(str(each) for each in FOLDERS))


def _reason(error: Exception) -> str:
    """The first line of a log that speaks of an error, or the last one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines[1:] if _COMPLAINT.search(line)), lines[-1])
