"""Measurements side by side with peers, on real sockets: ``python -m benchmarks --help``.

Every contestant is a whole process that does the same job as the others with the same servers, on the same disk, in
turn. What is measured is what a user waits for: start-up, tokens and the last sync included.

Who serves the bytes. Downloads: nginx, from a directory of the staged objects; it stands in front of the embedded
archive (``--public-url``), passes the control calls on, and answers the presigned GETs itself with ``sendfile``. It
does not check signatures, for all contestants alike. Uploads: the embedded archive, for all contestants alike. nginx
could store a PUT, but answers 201 or 204 where S3 says 200, which ``ghga-connector`` takes for a failure, gives no
ETag, and the archive could not complete the parts; an S3 server made for it (JuiceFS, Ceph) takes as much of the two
cores for a part as the archive does, and would need a client of its own in the archive on top. So the archive's share
of the processor is reported beside each upload. Every upload has an archive of its own, which has to find the content
right (it decrypts it and compares the sha256) before the run counts.
"""
