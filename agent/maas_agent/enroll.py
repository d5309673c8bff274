"""``maas-agent enroll``: the device's key for sealed bundles, made once, and its public half for the publisher."""

import base64
import json
import os
from pathlib import Path

from maas_agent.bundle.sealed import read_key, recipient_id, require
from maas_agent.config import load_config
from maas_agent.errors import UnavailableError
from maas_agent.files import create_durably


def enroll(config_path: Path, *, as_json: bool) -> int:
    """Make the key if there is none, and print its public half, the line that ``--encrypt-to`` takes; returns 0.

    A key is never overwritten. One that systemd hands over (``LoadCredential=device.key:…``) is only read. Raises
    `UnavailableError` if it cannot be made or read.
    """
    require()
    config = load_config(config_path)
    path = Path(config.device_key)
    made = not path.exists()
    if made:
        _make(path)
    public = read_key(path).public_key().public_bytes_raw()
    line = f"maas-device {config.device.id} {base64.b64encode(public).decode()}"
    if as_json:
        document = {"device": config.device.id, "recipient": recipient_id(public), "key": str(path), "made": made}
        print(json.dumps(document | {"line": line}, indent=2))
    else:
        print(line)
    return 0


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        owner = path.parent.stat()
        create_durably(path, pem, 0o600)
        os.chown(path, owner.st_uid, owner.st_gid)  # made by root, read by the agent
    except FileExistsError:
        return  # somebody else made one just now: that is the key
    except PermissionError:
        raise UnavailableError(f"no permission to make {path}: try sudo") from None
    except FileNotFoundError:
        raise UnavailableError(f"there is no folder {path.parent}: start the agent once, or see [device] key") from None
    except OSError as error:
        raise UnavailableError(f"cannot make {path}: {error.strerror}") from None
