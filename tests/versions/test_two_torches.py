"""Donor and recipient of different torches exchange a state: after an upgrade, old pods serve new ones for weeks."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from versions.side import NAME

OTHER = os.environ.get("OTHER_TORCH", "")
SIDE = Path(__file__).with_name("side.py")
SOURCES = [Path(__file__).parents[2] / each for each in ("transport", "tests")]
pytestmark = [
    pytest.mark.skipif(not OTHER, reason="OTHER_TORCH names no interpreter that has another torch"),
    pytest.mark.timeout(900),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a certificate that both sides show and believe."""
    key, now, name = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    (tmp_path / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    formats = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *formats))
    return tmp_path


def side(python: str, role: str, channel: str, folder: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, SOURCES)),
        "GLOO_SOCKET_IFNAME": "lo",
        "USE_LIBUV": "0",
    }
    command = [python, "-W", "ignore", str(SIDE), role, channel, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def said(process: "subprocess.Popen[str]") -> list[str]:
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    return out.split()


@pytest.mark.parametrize("channel", ["gloo", "stream", "meeting"])
@pytest.mark.parametrize("giver", ["ours", "theirs"])
def test_the_very_state_crosses(channel: str, giver: str, folder: Path) -> None:
    """`meeting`: as agents do that a policy sends over gloo, where no certificate lets the stream stand in."""
    pythons = [sys.executable, OTHER] if giver == "ours" else [OTHER, sys.executable]
    sides = [side(python, role, channel, folder) for python, role in zip(pythons, ["give", "take"], strict=True)]
    (gave_with, *gave), (took_with, *took) = (said(each) for each in sides)
    assert gave == took
    assert "False" not in took
    assert {gave_with, took_with} > {torch.__version__}, "two torches met"
