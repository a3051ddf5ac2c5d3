"""Somebody who has a certificate and knocks at agents' doors with it, from a pod."""

import json
import time

from builders_cluster import Job, kubectl, one
from builders_tokens import Waiting, root
from checkpointheal.agent.credentials import OwnKey
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.trust import Holder, Issued, pod_host
from checkpointheal_operator.gateway.authority import Authority, Refused, Terms

PORT = 7460
KNOCK = """
import json, socket, ssl, sys, tempfile

said = json.load(sys.stdin)
context = ssl.create_default_context(cadata=said["roots"])
with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
    file.write(said["papers"])
    file.flush()
    context.load_cert_chain(file.name)
plain = socket.create_connection((said["host"], said["port"]), timeout=20)
try:
    with context.wrap_socket(plain, server_hostname=said["name"]) as door:
        door.sendall(b"GET /v1/private/0/0/1 HTTP/1.1\\r\\nHost: agent\\r\\nConnection: close\\r\\n\\r\\n")
        print(door.recv(64).decode().partition("\\r")[0] or "refused: closed")
except (ssl.SSLError, ConnectionError) as error:
    print("refused:", getattr(error, "reason", None) or error)
"""
"""What a door answers is of no matter: who is answered was let in."""


def knock(guest: Waiting, papers: str, job: Job, rank: int) -> str:
    """The first line that the agent of this rank answers, or `refused: WHY`."""
    pod = one("pod", job.namespace, job.pod_of(rank)) or {}
    place = {"host": pod["status"]["podIP"], "port": PORT, "name": pod_host(pod["metadata"]["uid"])}
    said = {"papers": papers, "roots": root()} | place
    command = ["exec", "-i", "-n", guest.namespace, guest.name, "--", "python", "-c", KNOCK]
    return kubectl(*command, given=json.dumps(said)).strip()


def papers(roots: str, guest: Waiting, job: Job, terms: Terms | None = None) -> str:
    """A certificate as the authority with these roots would issue one to a member of the job, and its key."""
    key = OwnKey.new()
    holder = Holder(namespace=job.namespace, job=job.name, member=MemberId(replica=9), pod_uid=guest.uid)
    issued = Authority.read(roots, (), terms or Terms()).issue(key.csr, holder, "127.0.0.1", time.time())
    assert not isinstance(issued, Refused), issued
    assert isinstance(issued, Issued)
    return issued.chain + key.pem
