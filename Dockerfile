# syntax=docker/dockerfile:1

# Dependencies have a layer of their own, which is rebuilt only when Cargo.toml or Cargo.lock changes.
FROM rust:1.95-slim-bookworm AS build
# aws-lc and SQLite are compiled from C. ca-certificates are for backends behind https.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates cmake g++ make \
    && rm -rf /var/lib/apt/lists/*
# `dist` makes the smallest program; `dev` builds faster.
ARG PROFILE=dist
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --locked --profile "$PROFILE" --bin comfy-gateway \
    && rm -r src
COPY . .
# The stub sources are newer than the copied ones. Without `touch`, cargo would keep the program built from the stubs.
RUN touch build.rs src/main.rs src/lib.rs \
    && cargo build --locked --profile "$PROFILE" --bin comfy-gateway
# The contents of the image: the program, its shared libraries, certificates and a user. SQLite sorts in /tmp.
RUN mkdir -p /image/usr/local/bin /image/etc/ssl/certs /image-of-user/data \
    && install -d -m 1777 /image/tmp \
    && cp "target/$(echo "$PROFILE" | sed 's/^dev$/debug/')/comfy-gateway" /image/usr/local/bin/ \
    && ldd /image/usr/local/bin/comfy-gateway | grep -o '/[^ ]*' | xargs cp -L --parents -t /image \
    && cp -L /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
    && echo 'gateway:x:10001:10001::/data:/usr/sbin/nologin' > /image/etc/passwd \
    && echo 'gateway:x:10001:' > /image/etc/group

FROM scratch
COPY --from=build /image/ /
COPY --from=build --chown=10001:10001 /image-of-user/data /data
USER 10001:10001
ENV COMFY_GATEWAY_LISTEN=0.0.0.0:8080 \
    COMFY_GATEWAY_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
# Liveness, not readiness: a gateway without backends still accepts jobs and must not be restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/comfy-gateway", "health"]
ENTRYPOINT ["/usr/local/bin/comfy-gateway"]
