"""Deletes the buckets that tests have left on an S3 server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from persistence.objects.s3.settings import S3Settings, connect
from persistence.testing.servers.endpoints import S3Endpoint

_CLIENTS: dict[str, Any] = {}


def settings_of(endpoint: S3Endpoint) -> S3Settings:
    """The settings of the S3 provider for an endpoint."""
    return S3Settings(endpoint.url, endpoint.access_key, endpoint.secret_key)


def bucket_names(endpoint: S3Endpoint) -> set[str]:
    """The names of all buckets."""
    return {entry["Name"] for entry in _client(endpoint).list_buckets().get("Buckets", ())}


def delete_buckets(endpoint: S3Endpoint, names: Iterable[str]) -> None:
    """Delete buckets with their objects and open uploads."""
    client = _client(endpoint)
    for name in names:
        for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", ()):
            client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        while found := client.list_objects_v2(Bucket=name).get("Contents", ()):
            client.delete_objects(
                Bucket=name, Delete={"Objects": [{"Key": entry["Key"]} for entry in found], "Quiet": True}
            )
        client.delete_bucket(Bucket=name)


def _client(endpoint: S3Endpoint) -> Any:
    if endpoint.url not in _CLIENTS:
        _CLIENTS[endpoint.url] = connect(settings_of(endpoint))[0]
    return _CLIENTS[endpoint.url]
