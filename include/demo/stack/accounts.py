"""Which account PostgreSQL runs as: it refuses root, so root hands its files to ``nobody``."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.stack.errors import StackError

ACCOUNT = "nobody"  # exists on every Unix, so that no account has to be made


@dataclass(frozen=True)
class Account:
    """The user that runs the server."""

    uid: int
    gid: int

    @classmethod
    def current(cls) -> Account:
        """This process's own account; ``nobody`` if that is root."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        entry = pwd.getpwnam(ACCOUNT)
        return cls(entry.pw_uid, entry.pw_gid)

    def options(self) -> dict[str, Any]:
        """Arguments for subprocess that start a program as this account."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make the account the owner of a file or folder."""
        if self.uid != os.geteuid():
            os.chown(path, self.uid, self.gid)

    def must_own(self, path: Path) -> None:
        """Refuse a folder that another account filled."""
        owner = path.stat().st_uid
        if owner != self.uid:
            raise StackError(
                f"{path} belongs to another account: uid {owner}, expected uid {self.uid}. "
                "Run as the user that made it, or remove the folder and start again."
            )

    def let_in(self, path: Path) -> None:
        """Let the account pass through the folders above ``path``; for root only.

        Adds the right to pass (o+x), never to list: the least that lets another account reach a
        checkout below a closed folder such as /root.
        """
        if self.uid == os.geteuid():
            return
        for folder in path.absolute().parents:
            mode = stat.S_IMODE(folder.stat().st_mode)
            if not mode & stat.S_IXOTH:
                folder.chmod(mode | stat.S_IXOTH)
