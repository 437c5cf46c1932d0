"""Where a server is, and what may be sent there."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

import pillm

DEFAULT_URL = "https://api.openai.com/v1"
DEFAULT_KEY_ENV = "OPENAI_API_KEY"


def effective_url(base_url: str | None) -> str:
    """Return the address that is asked: the option, else OPENAI_BASE_URL, else OpenAI's own.

    Raises ConfigError where the variable holds no address that can be asked, without repeating it.
    """
    named = os.environ.get("OPENAI_BASE_URL")
    if base_url or not named:
        return base_url or DEFAULT_URL
    try:
        return check_url(named)
    except ValueError as error:
        raise pillm.ConfigError(f"the environment variable OPENAI_BASE_URL {error}.") from None


def check_url(url: str) -> str:
    """Return an address that can be asked; raise ValueError with the reason where it cannot."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as http://127.0.0.1:8080/v1")
    if parts.username or parts.password:
        raise ValueError("must not contain a user name or a password; name the key's environment variable in api_key_env")
    if parts.query or parts.fragment:
        raise ValueError("must end with the path: no '?' and no '#'")
    return url


def server_name(url: str) -> str:
    """Return host, port and path of an address: what a key names a server by."""
    parts = urlsplit(url)
    return f"{parts.netloc.casefold()}{parts.path.rstrip('/')}"


def is_here(url: str) -> bool:
    """Return whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_near(url: str) -> bool:
    """Return whether an address is on this machine or in this network."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return is_here(url) or "." not in host or host.endswith((".local", ".lan", ".internal", ".home.arpa"))


def is_openai(url: str) -> bool:
    """Return whether OpenAI itself answers there, or Azure in its name."""
    host = urlsplit(url).hostname or ""
    return host.endswith((".openai.com", ".openai.azure.com"))


def secret_for(url: str, api_key_env: str | None) -> str:
    """Return the key to send, "" for a near server that needs none; raise ConfigError, Unavailable or UnsafeError.

    A key that nobody named for this server is not sent in clear to another machine: it is most often OpenAI's own.
    """
    variable, in_clear = api_key_env or DEFAULT_KEY_ENV, urlsplit(url).scheme != "https"
    secret = os.environ.get(variable, "").strip()
    if not (secret.isascii() and secret.isprintable()):
        raise pillm.ConfigError(
            f"the environment variable {variable} holds characters that no key has, such as a line break or an accent. "
            "Copy the key anew. Nothing was sent."
        )
    if is_near(url):
        return "" if in_clear and not api_key_env and not is_here(url) else secret
    if not secret:
        raise pillm.Unavailable(
            f"teacher 'openai' needs a key for {server_name(url)}, and {variable} is not set. "
            f"Write export {variable}=..., or name another variable: -o api_key_env=NAME. Nothing was sent."
        )
    if in_clear:
        raise pillm.UnsafeError(
            f"{server_name(url)} is outside this network and its address is not https: the key would travel in clear. "
            "Nothing was sent. Use an https address."
        )
    return secret
