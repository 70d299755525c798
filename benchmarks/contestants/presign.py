"""Print a presigned GET URL: python -m benchmarks.contestants.presign ENDPOINT BUCKET KEY (credentials as for AWS)."""

from __future__ import annotations

import sys

import boto3
from botocore.config import Config

endpoint, bucket, key = sys.argv[1:]
style = Config(signature_version="s3v4", s3={"addressing_style": "path"})
client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=style)
print(client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600))
