# The daemon and its client.
#
#   docker build --tag kvd .
#   docker run --detach --name kvd --volume kvd-data:/data --publish 127.0.0.1:5830:5830 kvd
#   docker exec kvd kvctl set greeting hello
#
# Every option of `kvd --help` is also a variable: --env KVD_FSYNC=everysec.

FROM python:3.12-slim-bookworm AS build

# The environment that the second stage copies; it has no pip of its own.
RUN python -m venv --without-pip /opt/kvd
WORKDIR /build

# The dependencies come first, so that they are installed anew only when setup.cfg changes.
COPY setup.cfg .
RUN python -c 'from configparser import ConfigParser as C; c = C(); c.read("setup.cfg"); print(c["options"]["install_requires"])' \
        > requirements.txt \
 && pip --python /opt/kvd/bin/python install --no-cache-dir --requirement requirements.txt

COPY . .
RUN pip --python /opt/kvd/bin/python install --no-cache-dir --no-deps .


FROM python:3.12-slim-bookworm

# The number is fixed so that a volume's files still belong to this user in the next image.
RUN useradd --uid 5830 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin kvd \
 && install --directory --owner=kvd --group=kvd --mode=0700 /data
COPY --from=build /opt/kvd /opt/kvd

# There are no passwords.  Inside the container kvd listens on every interface;
# who reaches it is decided by what is published, and to which address.
ENV PATH=/opt/kvd/bin:$PATH \
    KVD_LISTEN=0.0.0.0:5830 \
    KVD_DATA=/data
EXPOSE 5830
VOLUME /data
WORKDIR /data
USER 5830:5830

# A health check asks where kvctl asks by default, port 5830; KVCTL_ADDR names another.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["kvctl", "ping"]

# kvd is process 1 and takes SIGTERM itself: it finishes what it has begun, and exits with 0.  It reaps what others leave.
STOPSIGNAL SIGTERM
CMD ["kvd"]
