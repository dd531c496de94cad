"""What loading a version yields, and whether its files still are those that it was loaded from."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.server.errors import RepositoryError
from eyespot.server.model_config import ModelConfig
from eyespot.server.repository import VersionFolder, check_files, fingerprint
from eyespot.server.session import Session
from eyespot.v1.manifest import Manifest

Array = NDArray[np.generic]


class LoadedVersion(NamedTuple):
    """What loading a version yields; what explains it comes later.

    `good_inputs` ran at the load: None where nothing that was made up did. `with_original` is
    whether the original was among the files that were looked at.
    """

    folder: VersionFolder
    config: ModelConfig
    session: Session
    labels: tuple[str, ...]
    manifest: Manifest | None
    runs_on_event_loop: bool
    good_inputs: Mapping[str, Array] | None = None
    fingerprint: Hashable = None  # of its files
    with_original: bool = True


def fingerprint_of(folder: VersionFolder) -> Hashable:
    """What changes when a file of a version does."""
    return fingerprint(folder.folder.parent, folder.folder.name)


def check_unchanged(loaded: LoadedVersion) -> None:
    """Make sure that the files of a version are those that it was loaded from; blocks.

    Raises:
        RepositoryError: They are not, or do not match their hashes.
    """
    is_same = check_files(loaded.folder, with_original=loaded.with_original) == loaded.manifest
    if loaded.manifest is None:  # there are no hashes
        is_same = is_same and fingerprint_of(loaded.folder) == loaded.fingerprint
    if not is_same:
        raise RepositoryError("they have changed since it was loaded; load it again")
