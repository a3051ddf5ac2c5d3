"""Load images onto the nodes of a kind cluster, without the layers that they have: seconds instead of minutes.

`load.py NODE,NODE IMAGE…`. As `kind load docker-image` does it, but for what is left out of the archive: a node's store
finds what it already has by its digest.
"""

import contextlib
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import PurePosixPath

CTR = ("ctr", "--namespace=k8s.io")


def has(node: str) -> set[str]:
    """Digests that lie in the node's store."""
    command = ["docker", "exec", node, *CTR, "content", "ls", "--quiet"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return {each.removeprefix("sha256:") for each in listed.stdout.split()}


def importing(node: str) -> subprocess.Popen[bytes]:
    """Reads an archive and takes it into the node's store."""
    command = ["docker", "exec", "-i", node, *CTR, "images", "import", "--digests", "--snapshotter=overlayfs", "-"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


def main(nodes: list[str], images: list[str]) -> int:
    """Exit status of the worst import."""
    known, imports = {node: has(node) for node in nodes}, {node: importing(node) for node in nodes}
    with contextlib.ExitStack() as stack:
        saving = stack.enter_context(subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE))
        whole = stack.enter_context(tarfile.open(fileobj=saving.stdout, mode="r|"))
        parts = {
            node: stack.enter_context(tarfile.open(fileobj=each.stdin, mode="w|")) for node, each in imports.items()
        }
        for member in whole:
            path = PurePosixPath(member.name)
            wanting = [node for node in nodes if path.parts[0] != "blobs" or path.name not in known[node]]
            read = whole.extractfile(member) if wanting else None
            body = read.read() if read is not None else None
            for node in wanting:
                parts[node].addfile(member, BytesIO(body) if body is not None else None)
    for each in imports.values():
        if each.stdin is not None:
            each.stdin.close()
    return max([saving.returncode, *(each.wait() for each in imports.values())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].split(","), sys.argv[2:]))
