"""Real servers for tests, as processes of their own: mongod, the JuiceFS gateway, Ceph's radosgw."""

from persistence.testing.servers.ceph import run_ceph
from persistence.testing.servers.endpoints import S3Endpoint
from persistence.testing.servers.juicefs import run_juicefs
from persistence.testing.servers.mongod import run_member, run_mongod, run_replica_set

__all__ = ["S3Endpoint", "run_ceph", "run_juicefs", "run_member", "run_mongod", "run_replica_set"]
