"""``maas-agent enroll``: the device's key for sealed bundles, made once, and its public half for the publisher."""

import base64
import os
from pathlib import Path

from maas_agent.base.terminal import write_document, write_line
from maas_agent.bundle.sealed import read_key, recipient_id, require
from maas_agent.config import load_config
from maas_agent.errors import UnavailableError
from maas_agent.host.files import create_durably
from maas_agent.host.privileges import as_owner_of


def enroll(config_path: Path, *, as_json: bool) -> int:
    """Make the key if there is none, and print its public half, the line that ``--encrypt-to`` takes; returns 0.

    A key is never overwritten. One that systemd hands over (``LoadCredential=device.key:…``) is only read. Raises
    `UnavailableError` if it cannot be made or read.
    """
    require()
    config = load_config(config_path)
    path = Path(config.device_key)
    made, public = _made_or_read(path)
    line = f"maas-device {config.device.id} {base64.b64encode(public).decode()}"
    if as_json:
        document = {"device": config.device.id, "recipient": recipient_id(public), "key": str(path), "made": made}
        write_document(document | {"line": line})
    else:
        write_line(line)
    return 0


def _made_or_read(path: Path) -> tuple[bool, bytes]:
    """Whether the key was made now, and its public half.

    Root does it as whoever owns the folder: the agent reads the key, and what its user has put in the way leads nowhere
    else.
    """
    pem = _new_key()
    try:
        with as_owner_of(path.parent):
            made = not path.exists() and _make(path, pem)
            return made, read_key(path).public_key().public_bytes_raw()
    except PermissionError:
        mend = "'maas-agent check' says what to type" if os.geteuid() == 0 else "try sudo"
        raise UnavailableError(f"no permission to make {path}: {mend}") from None
    except FileNotFoundError:
        raise UnavailableError(f"there is no folder {path.parent}: start the agent once, or see [device] key") from None
    except OSError as error:
        raise UnavailableError(f"cannot make {path}: {error.strerror}") from None


def _new_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _make(path: Path, pem: bytes) -> bool:
    try:
        create_durably(path, pem, 0o600)
    except FileExistsError:
        return False  # somebody else made one just now: that is the key
    return True
