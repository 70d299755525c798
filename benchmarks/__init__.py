"""Measurements side by side with peers, on real sockets: ``python -m benchmarks --help``.

Every contestant is a whole process that does the same job as the others with the same servers, on the same disk, in
turn. What is measured is what a user waits for: start-up, tokens and the last sync included.

Who serves the bytes. Downloads: nginx, from a directory of the staged objects; it stands in front of the embedded
archive (``--public-url``), passes the control calls on, and answers the presigned GETs itself with ``sendfile``. It
does not check signatures, for all contestants alike.

Uploads: nginx, for all contestants alike. It takes a part from the socket and writes it to a file on the measured disk
by itself, then asks the archive about it by the file's name; the archive moves it to its place and answers 200. (By
nginx's own means a PUT is answered with 201 or 204 where S3 says 200, which ``ghga-connector`` takes for a failure.)
Control calls, tokens and part URLs are the embedded archive's, through the same nginx. Nobody computes the md5 of a
part on the server's side: storage that does it is another machine in real life, and its md5 no cost of the client. So
after each run, outside its time, the harness checks all that came in: parts, their digests, and the plaintext inside,
by the data hub's key. One row of the large files goes to the embedded archive as it is, which computes an md5 of each
part in its threads; it has to take the file in (it decrypts it, too) before the run counts.

What the servers take of the processor is reported beside each run.
"""
