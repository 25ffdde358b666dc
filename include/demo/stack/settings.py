"""What the embedded server is told beyond PostgreSQL's defaults, and why."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

MIB = 1024 * 1024
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_SHARED_MEMORY = "/dev/shm"


def memory() -> int:
    """Bytes of memory that this machine, or this container, may use."""
    total: int = psutil.virtual_memory().total
    try:
        limit = _CGROUP_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def server_settings(port: int) -> dict[str, str]:
    """All settings of a server on ``port``, sized to this machine."""
    shared = max(32, min(1024, memory() // MIB // 8))
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        # No socket: its path may be longer than the 107 bytes that the kernel allows.
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": f"{shared}MB",
        "work_mem": "64MB",
        "maintenance_work_mem": "256MB",
        "dynamic_shared_memory_type": _dynamic_shared_memory(),
        # A migration writes every row two or three times: few, long checkpoints keep the log small.
        "wal_level": "logical",
        "max_wal_size": "4GB",
        # Loads side by side would wait for each other to empty 16 MB of buffers, for the log's writer to
        # flush each megabyte, and for new log files to be filled with zeros.
        "wal_buffers": f"{shared // 4}MB",
        "wal_writer_flush_after": "0",
        "min_wal_size": "1GB",
        "wal_init_zero": "off",
        "checkpoint_timeout": "15min",
        # Flushing the whole file system once beats a thousand fsync calls after a crash.
        "recovery_init_sync_method": sync_method(),
        "wal_compression": "on",  # which is pglz: the wheel is built without lz4
        # Compiling a plan costs more than it gives on short, wide COPY and INSERT statements.
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }


def sync_method() -> str:
    """How a data folder is flushed: ``syncfs`` where the kernel has it."""
    return "syncfs" if sys.platform == "linux" else "fsync"


def _dynamic_shared_memory() -> str:
    """Files where /dev/shm is too small for a parallel hash join: containers often have 64 MB."""
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return "mmap"
    return "posix" if found.f_bavail * found.f_frsize >= 512 * MIB else "mmap"


def as_file(settings: Mapping[str, str]) -> str:
    """The settings in the syntax of postgresql.conf."""
    quoted = {name: value.replace("'", "''") for name, value in settings.items()}
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())
