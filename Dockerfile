# The daemon and its client.
#
#   docker build --tag kvd .
#   docker run --detach --name kvd --volume kvd-data:/data --publish 127.0.0.1:5830:5830 kvd
#   docker exec kvd kvctl set greeting hello
#
# The first start makes a user, admin, whose password is in /data/admin-password, and a certificate, /data/tls-cert.pem:
#
#   docker exec kvd cat /data/admin-password
#   docker cp kvd:/data/tls-cert.pem . && kvctl --addr tls:localhost:5830 --ca tls-cert.pem ...
#
# Every option of `kvd --help` is also a variable: --env KVD_FSYNC=everysec.

FROM python:3.12-slim-bookworm AS build

# The environment that the second stage copies; it has no pip of its own.
RUN python -m venv --without-pip /opt/kvd
WORKDIR /build

# The dependencies come first, so that they are installed anew only when setup.cfg changes.
COPY setup.cfg .
RUN python -c 'from configparser import ConfigParser as C; c = C(); c.read("setup.cfg"); print(c["options"]["install_requires"], c["options.extras_require"]["http"])' \
        > requirements.txt \
 && pip --python /opt/kvd/bin/python install --no-cache-dir --requirement requirements.txt

COPY . .
# That of the commit's tag, which the pipeline knows (.ci/version).
ARG VERSION=
RUN { [ -z "$VERSION" ] || sed -i "s/^__version__ = .*/__version__ = \"$VERSION\"/" kvd/__init__.py; } \
 && pip --python /opt/kvd/bin/python install --no-cache-dir --no-deps .


FROM python:3.12-slim-bookworm

# The number is fixed so that a volume's files still belong to this user in the next image.
RUN useradd --uid 5830 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin kvd \
 && install --directory --owner=kvd --group=kvd --mode=0700 /data
# It makes the certificate; the image of Python has it.
RUN openssl version
COPY --from=build /opt/kvd /opt/kvd
COPY deploy/image/kvd-image /opt/kvd/bin/

# Inside the container kvd listens on every interface, with TLS, and for kvctl on a unix socket: there it knows its own
# user, who may do everything.  With KVD_LISTEN=0.0.0.0:5830 and KVD_INSECURE=yes everybody may who reaches it.
ENV PATH=/opt/kvd/bin:$PATH \
    KVD_LISTEN="tls:0.0.0.0:5830 unix:/data/kvd.sock" \
    KVD_TLS_CERT=/data/tls-cert.pem \
    KVD_TLS_KEY=/data/tls-key.pem \
    KVD_USERS=/data/users.toml \
    KVD_DATA=/data \
    KVCTL_ADDR=unix:/data/kvd.sock
EXPOSE 5830
VOLUME /data
WORKDIR /data
USER 5830:5830

# A health check asks where kvctl asks, which KVCTL_ADDR says.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["kvctl", "ping"]

# kvd is process 1 and takes SIGTERM itself: it finishes what it has begun, and exits with 0.  It reaps what others leave.
STOPSIGNAL SIGTERM
ENTRYPOINT ["kvd-image"]
CMD ["kvd"]
