"""Another machine, reached through the system's OpenSSH: commands, small files and resumable uploads."""

from pillm.remote.machine import Remote

__all__ = ["Remote"]
