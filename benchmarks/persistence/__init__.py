"""The persistence package beside hexkit, on one mongod and one S3 server, in one run."""
