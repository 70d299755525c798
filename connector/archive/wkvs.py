"""Well-known values: where a client finds the other APIs, and the hubs' public keys."""

from __future__ import annotations

from connector.wire.payloads import WellKnownValues


def well_known_values(base_url: str, *, storage_alias: str, hub_public_key_base64: str) -> WellKnownValues:
    """The values of an archive that serves one storage alias and all its APIs under ``base_url``."""
    base = base_url.rstrip("/")
    return WellKnownValues(
        crypt4gh_public_keys={storage_alias: hub_public_key_base64},
        wps_api_url=f"{base}/wps",
        dcs_api_url=f"{base}/dcs",
        ucs_api_url=f"{base}/ucs",
    )
