"""Files of tensors, checkpoints and weights: written, and read without trusting them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from bionas.files import replacing
from bionas.seals import SEAL, sealing, whole


def write(path: Path, content: dict[str, Any], sealed: bool = False) -> None:
    """Write tensors and plain values; by way of memory, as torch does not say why it could not write to a file."""
    import torch

    image = io.BytesIO(bytes(SEAL if sealed else 0))
    image.seek(0, io.SEEK_END)
    torch.save(content, image)
    with (sealing if sealed else replacing)(path) as partial:
        partial.write_bytes(image.getbuffer())


def read(path: Path) -> Any:
    """Return tensors, on the CPU, and plain values; nothing else is ever built, and no code is run.

    Raises ValueError with what is wrong, without the path, for whatever is not readable: torch raises almost anything.
    """
    import torch

    with path.open("rb") as file:
        if not whole(file):
            raise ValueError("damaged, not what was written")
        content = io.BytesIO(file.read())
    try:
        with zipfile.ZipFile(content) as members:  # torch packs nothing: what claims to hold more than the file does is a bomb
            if sum(member.file_size for member in members.infolist()) > content.getbuffer().nbytes:
                raise ValueError("its parts claim to be larger than it is")
        content.seek(0)
        return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"not readable, {type(error).__name__}") from None
