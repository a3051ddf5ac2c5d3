"""Did the job that was killed end bit for bit like the one that never was?

Both wrote SHA-256 fingerprints of each part of each rank's state. Must not know how the job was healed.
"""

import json
from pathlib import Path
from typing import NamedTuple


class Verdict(NamedTuple):
    """The comparison, part by part."""

    same: tuple[str, ...]
    different: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether there was something to compare and nothing differs."""
        return bool(self.same) and not self.different


def compare(reference: Path, healed: Path, ranks: int) -> Verdict:
    """Compare the fingerprints in two folders. A file that is missing differs from everything."""
    parts: dict[str, bool] = {}
    for rank in range(ranks):
        ours, theirs = _read(healed, rank), _read(reference, rank)
        for part in sorted(ours.keys() | theirs.keys() | {"model"}):
            parts[f"rank {rank}: {part}"] = part in ours and ours[part] == theirs.get(part)
    return Verdict(
        tuple(part for part, same in parts.items() if same), tuple(part for part, same in parts.items() if not same)
    )


def _read(folder: Path, rank: int) -> dict[str, str]:
    file = folder / f"fingerprint-{rank}.json"
    found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    return found
