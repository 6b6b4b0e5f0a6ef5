# syntax=docker/dockerfile:1

# Dependencies are built in a layer of their own: it is made again only when Cargo.toml or Cargo.lock change.
FROM rust:1.95-slim-bookworm AS build
# aws-lc and SQLite are compiled from C.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --locked --profile dist \
    && rm -r src
COPY . .
# The stand-ins are newer than the sources that replace them: without this, cargo would keep what it made of them.
RUN touch build.rs src/main.rs src/lib.rs \
    && cargo build --locked --profile dist

FROM debian:bookworm-slim
# ca-certificates: for ComfyUI servers behind https. curl: for the health check.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home gateway \
    && install -d -o gateway -g gateway /data
COPY --from=build /build/target/dist/comfy-gateway /usr/local/bin/comfy-gateway
USER gateway
ENV COMFY_GATEWAY_LISTEN=0.0.0.0:8080 \
    COMFY_GATEWAY_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
# Alive, not ready: a gateway without its ComfyUI must go on accepting jobs and not be restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["comfy-gateway"]
