"""A conversation with an FTP server: what is asked of it, what is believed of its answers, and what is not.

The address that a server names for its data is not looked at: data come from where the control connection leads.
"""

import ftplib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx2

from app.net import urls
from app.net.addresses import Address
from app.net.backend import MAX_TRIED, Resolve, addresses_of
from app.net.door import Policy
from app.net.errors import ForbiddenError, InvalidUrlError, NetworkError
from app.net.timed import Clock, TimedSocket, TimedTlsSocket

_CHUNK = 256 * 1024
_MAX_REPLY_LINES = 1000
_UNKNOWN_COMMAND = frozenset({500, 501, 502, 504})
_MODIFIED = re.compile(r"213[ -](\d{14}(?:\.\d{1,9})?)\s*")
_SIZE = re.compile(r"213[ -](\d{1,18})\s*")


class FtpRefusedError(NetworkError):
    """The server will not, and says so with a `code` of 500 or more. Its words, which may be anything, are not told."""

    def __init__(self, message: str, *, code: int, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class FtpLoginError(NetworkError):
    """The server does not let the node in."""


@dataclass(frozen=True)
class FtpVersion:
    """What MDTM and SIZE tell, each if the server knows it."""

    modified: str | None = None
    size: int | None = None


class FtpSession(ftplib.FTP):
    """A control connection, logged in, and what can be asked over it. Any error leaves it unfit for more."""

    def __init__(self, policy: Policy, resolve: Resolve, tls: ssl.SSLContext | None) -> None:
        super().__init__(encoding="utf-8")
        self._policy = policy
        self._resolve = resolve
        self._tls = tls
        self._clock = Clock()
        self._until = float("inf")
        self._is_receiving = False
        self._reply_lines = 0
        self.used = time.monotonic()

    def allow(self, until: float) -> None:
        """All that is asked from now on has to be over at `until`, on the monotonic clock."""
        self._until = until

    def enter(self, url: httpx2.URL, username: str, password: str) -> None:
        """Connects and logs in. Raises `NetworkError`."""
        with self._translated(urls.shown(url)):
            self._open(urls.host_of(url), urls.port_of(url))
            if self._tls is not None:
                self._start_tls(self._tls)
            self._log_in(username, password)
            if self._tls is not None:
                self.voidcmd("PBSZ 0")
                self.voidcmd("PROT P")
            self.voidcmd("TYPE I")

    def is_alive(self) -> bool:
        try:
            self._expect_reply()
            self.voidcmd("NOOP")
        except (ftplib.Error, OSError, EOFError, ValueError):
            return False
        return True

    def version(self, url: httpx2.URL) -> FtpVersion:
        """Raises `NetworkError`; `FtpRefusedError` when there is no such file."""
        with self._translated(urls.shown(url)):
            path = file_of(url)
            modified, size = self._told(f"MDTM {path}", _MODIFIED), self._told(f"SIZE {path}", _SIZE)
            return FtpVersion(modified, None if size is None else int(size))

    def chunks(self, url: httpx2.URL) -> Iterator[bytes]:
        """The content of a file. Raises `NetworkError` when it does not come whole."""
        with self._translated(urls.shown(url)):
            with self._transfer(f"RETR {file_of(url)}") as connection:
                self._is_receiving, self._clock.until = True, self._until
                while data := connection.recv(_CHUNK):
                    yield data
                self._end_tls(connection)
            self._expect_reply()
            self.voidresp()

    # --- the control connection

    def _open(self, host: str, port: int) -> None:
        error: OSError | None = None
        self.host = host
        self._clock.until = self._until
        seconds = self._clock.left(self._policy.connect_timeout)
        for address in addresses_of(host, port, self._policy.opened, self._resolve, seconds)[:MAX_TRIED]:
            try:
                connection = self._dial(address, port)
            except OSError as failed:
                error = failed
            else:
                self._address = address
                self._use(connection)
                self._expect_reply()
                self.voidresp()
                return
        raise error or OSError("the name has no address")

    def _dial(self, address: Address, port: int) -> socket.socket:
        connection = TimedSocket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        connection.clock, connection.patience = self._clock, self._policy.stall_timeout
        self._clock.until = self._until
        try:
            connection.settimeout(self._clock.left(self._policy.connect_timeout))
            connection.connect((str(address), port))
        except BaseException:
            connection.close()
            raise
        return connection

    def _use(self, connection: socket.socket) -> None:
        self.sock, self.af = connection, connection.family
        if self.file is not None:
            self.file.close()  # what came before TLS is not listened to after
        self.file = connection.makefile("r", encoding=self.encoding, errors="replace")

    def _control(self) -> socket.socket:
        if self.sock is None:
            raise EOFError
        return self.sock

    def _secured(self, connection: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        """TLS on a connection; that of the data resumes that of the control connection, as many servers demand."""
        known = self.sock.session if isinstance(self.sock, ssl.SSLSocket) else None
        connection.settimeout(self._clock.left(self._policy.first_byte_timeout))
        try:
            secured = context.wrap_socket(connection, server_hostname=self.host, session=known)
        except BaseException:
            connection.close()
            raise
        if isinstance(secured, TimedTlsSocket):
            secured.clock, secured.patience = self._clock, self._policy.stall_timeout
        return secured

    def _start_tls(self, context: ssl.SSLContext) -> None:
        try:
            self.voidcmd("AUTH TLS")
        except ftplib.error_perm as error:
            raise NetworkError(
                f"{self.host}: FTP {_code(error)}, the server offers no TLS",
                remedy="Mend it; or write ftp:// if user, password and feed may be seen by everybody on the way.",
            ) from error
        self._use(self._secured(self._control(), context))

    def _log_in(self, username: str, password: str) -> None:
        """What the server says to it may repeat the password, and is dropped with its exception."""
        try:
            self.login(username, password)
        except ftplib.Error as error:
            code, is_passing = _code(error), isinstance(error, ftplib.error_temp)
        else:
            return
        if is_passing:
            raise ftplib.error_temp(str(code))
        raise FtpLoginError(
            f"{self.host}: FTP {code or '???'}, the server refuses the login",
            remedy="Check `username` and `password` of this ingestor.",
        )

    def _expect_reply(self) -> None:
        self._is_receiving = False
        self._clock.until = min(self._until, time.monotonic() + self._policy.first_byte_timeout)

    def putcmd(self, line: str) -> None:
        self._expect_reply()
        self._control().settimeout(self._clock.left(self._policy.stall_timeout))
        super().putcmd(line)

    def getmultiline(self) -> str:
        self._reply_lines = 0
        return super().getmultiline()

    def getline(self) -> str:
        self._reply_lines += 1
        if self._reply_lines > _MAX_REPLY_LINES:
            raise ftplib.error_proto("a reply without end")
        return super().getline()

    def _told(self, command: str, pattern: re.Pattern[str]) -> str | None:
        try:
            found = pattern.fullmatch(self.sendcmd(command))
        except ftplib.error_perm as error:
            if _code(error) in _UNKNOWN_COMMAND:
                return None
            raise
        return found[1] if found else None

    # --- the data connection

    def _transfer(self, command: str) -> socket.socket:
        connection = self._dial(self._address, self._passive_port())
        try:
            reply = self.sendcmd(command)
            if reply[:1] == "2":  # some servers say first that they are going to
                reply = self.getresp()
            if reply[:1] != "1":
                raise ftplib.error_reply(reply)
            return self._secured(connection, self._tls) if self._tls is not None else connection
        except BaseException:
            connection.close()
            raise

    def _passive_port(self) -> int:
        if self.af == socket.AF_INET:
            _, port = ftplib.parse227(self.sendcmd("PASV"))
        else:
            _, port = ftplib.parse229(self.sendcmd("EPSV"), (str(self._address), 0))
        if not 1024 <= port < 65536:
            raise ForbiddenError(
                f"{self.host} names {port} as the port of its data: the node does not connect there",
                remedy="Let the server use passive ports from 1024 on.",
            )
        return port

    def _end_tls(self, connection: socket.socket) -> None:
        if isinstance(connection, ssl.SSLSocket):
            with suppress(OSError, ValueError):  # many servers just hang up; whether all came is told by SIZE and 226
                connection.settimeout(self._clock.left(1.0))
                connection.unwrap().close()

    @contextmanager
    def _translated(self, told: str) -> Iterator[None]:
        """What ftplib and the sockets raise as the node's own errors, each naming what happened."""
        try:
            yield
        except TimeoutError as error:
            raise NetworkError(f"{told} {self._timed_out()}", transient=True) from error
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message
            raise NetworkError(f"{told}: TLS failed: {reason}", remedy="Mend the certificate.") from error
        except ftplib.error_temp as error:
            raise NetworkError(f"{told}: FTP {_code(error)}, the server is not able to", transient=True) from error
        except ftplib.error_perm as error:
            raise FtpRefusedError(f"{told}: FTP {_code(error)}", code=_code(error)) from error
        except (ftplib.Error, EOFError, ValueError) as error:
            raise NetworkError(f"{told}: the server hung up or does not speak FTP", transient=True) from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise NetworkError(f"{told}: no connection, or it broke off: {reason}", transient=True) from error

    def _timed_out(self) -> str:
        if time.monotonic() >= self._until:
            return "took longer than a transfer may (MAX_TRANSFER_SECONDS)"
        if self._is_receiving:
            return f"sent nothing for {self._policy.stall_timeout:g} seconds"
        return f"did not answer within {self._policy.first_byte_timeout:g} seconds"


def file_of(url: httpx2.URL) -> str:
    """The file a URL means, as seen from the folder of the login; `ftp://host//file` is one from the root. Raises
    `InvalidUrlError`."""
    path = url.path.removeprefix("/")
    if url.query:
        raise InvalidUrlError(f"{urls.shown(url)} has a query", remedy="Write a question mark of a name as %3F.")
    if not path or not path.isprintable():
        raise InvalidUrlError(f"{urls.shown(url)} names no file", remedy="Correct the URL.")
    return path


def _code(error: Exception) -> int:
    code = str(error)[:3]
    return int(code) if code.isascii() and code.isdecimal() else 0
