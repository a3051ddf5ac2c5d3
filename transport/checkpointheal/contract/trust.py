"""Who an agent is to other agents, and how it asks for the certificate that says so.

A certificate names its holder twice: as a URI, which says all, and as a DNS name made of the pod's uid, which TLS
itself compares before the first byte crosses. Must not know keys, certificates or sockets.
"""

import re
from urllib.parse import quote, unquote

from pydantic import Field

from checkpointheal.contract.base import Frozen, Message, Seconds
from checkpointheal.contract.identity import MemberId

TRUST_PROTOCOL = 1
CSR_LIMIT = 8192
"""Characters. A request for an elliptic curve takes about 500."""

_URI = re.compile(
    r"spiffe://checkpointheal\.internal/ns/(?P<namespace>[^/]*)/job/(?P<job>[^/]+)"
    r"/member/(?P<replica>[0-9]{1,18})/(?P<rank>[0-9]{1,18})/pod/(?P<pod>[^/]+)"
)


class Holder(Frozen):
    """Whom a certificate stands for. The namespace is empty where there is no cluster."""

    namespace: str = ""
    job: str = Field(min_length=1)
    member: MemberId
    pod_uid: str = Field(min_length=1)

    @property
    def uri(self) -> str:
        """All of it in one name; slashes inside a part are escaped, so no part can pose as another."""
        namespace, job, pod = (quote(part, safe="") for part in (self.namespace, self.job, self.pod_uid))
        return f"spiffe://checkpointheal.internal/ns/{namespace}/job/{job}/member/{self.member}/pod/{pod}"

    @classmethod
    def parse(cls, uri: str) -> "Holder":
        """Read it back; raises ValueError that shows the text."""
        found = _URI.fullmatch(uri)
        if found is None:
            raise ValueError(f"{uri[:200]!r} names no agent")
        return cls(
            namespace=unquote(found["namespace"]),
            job=unquote(found["job"]),
            member=MemberId(replica=int(found["replica"]), rank=int(found["rank"])),
            pod_uid=unquote(found["pod"]),
        )

    def shares_job_with(self, other: "Holder") -> bool:
        """Jobs of one name in two namespaces are two jobs."""
        return (self.namespace, self.job) == (other.namespace, other.job)


def pod_host(pod_uid: str) -> str:
    """The DNS name under which a pod's agent is verified; nobody resolves it."""
    return f"{pod_uid}.pods.checkpointheal.internal"


class CertificateRequest(Message):
    """An agent asks for a certificate for a key that it keeps to itself. Whose it will be the gateway knows already."""

    protocol: int = TRUST_PROTOCOL
    csr: str = Field(max_length=CSR_LIMIT, description="PKCS #10 in PEM. Only its key is read, no name in it.")


class Issued(Message):
    """The certificate, and whom to believe from now on."""

    holder: Holder = Field(description="Whom the certificate stands for.")
    chain: str = Field(description="PEM: the certificate first, then what leads to an older root.")
    roots: str = Field(description="PEM: every root that is to be believed, in place of those known so far.")
    renew_after: Seconds = Field(description="Seconds from its receipt until the next one should be asked for.")
