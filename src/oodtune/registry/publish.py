"""A bundle here -> a version there."""

import hashlib

from oodtune.artifact import MANIFEST, Artifact
from oodtune.errors import RegistryError
from oodtune.progress import Progress, silent
from oodtune.registry.ledger import claim_version, path_of, read_versions
from oodtune.registry.objects import Objects
from oodtune.registry.transfer import Transfer, upload_files


def publish_bundle(objects: Objects, bundle: Artifact, progress: Progress = silent) -> str:
    """Publish a bundle and return its version: the one it has, if it was published before.

    Until its last object, the manifest, is written, nobody sees the version; killed before that, the next
    publisher of the same bundle goes on with the files that are missing. Raises RegistryError.
    """
    manifest = (bundle.path / MANIFEST).read_bytes()
    if hashlib.sha256(manifest).hexdigest() != bundle.digest:
        raise RegistryError(f"{bundle.path}: changed while it was published; publish it again")
    known = {digest: version for version, digest in read_versions(objects).items()}
    if bundle.digest in known and _is_finished(objects, known[bundle.digest], manifest):
        return known[bundle.digest]
    objects.require_conditions()
    version = claim_version(objects, bundle.digest)
    files = [
        Transfer(bundle.path / name, path_of(version, name), sha256, (bundle.path / name).stat().st_size)
        for name, sha256 in sorted(bundle.manifest.files.items())
    ]
    upload_files(objects, files, progress)
    # Refused, it was finished meanwhile by another publisher of the same bundle.
    if not objects.write(path_of(version, MANIFEST), manifest, None):
        assert _is_finished(objects, version, manifest)
    return version


def _is_finished(objects: Objects, version: str, manifest: bytes) -> bool:
    stored = objects.read(path_of(version, MANIFEST))
    if stored is not None and stored.data != manifest:
        raise RegistryError(
            f"{objects.place.address(path_of(version, MANIFEST))}: expected the manifest that was published, found "
            "another content; it was altered in the bucket: restore the object"
        )
    return stored is not None
