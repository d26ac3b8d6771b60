# The image of the service and its operator: two binaries, the C library, FoundationDB's client and certificates, and nothing else. No shell, no package
# manager, and no HEALTHCHECK: Kubernetes asks by its own probes.
#
#   docker build -t ekitei .
#
# Other bases:        --build-arg BASE=... --build-arg RUST=...
# Another client:     --build-arg FOUNDATIONDB=7.3.79 --build-arg FOUNDATIONDB_SHA256=...
# Binaries from elsewhere (a directory with ekitei, ekitei-operator and libfdb_c.so): --build-context binaries=DIR, and nothing is compiled.
ARG BASE=debian:bookworm-slim
# Its compiler is used, whatever rust-toolchain.toml says: that is not in the context, or rustup would fetch what the image has already.
ARG RUST=rust:1.95.0-bookworm

# FoundationDB's client library, from its package.
FROM ${BASE} AS foundationdb
ARG FOUNDATIONDB=7.3.69
ARG FOUNDATIONDB_SHA256=ea59d1708519798c7bc4f514cd29af1ac8e41dccbec4371f22d86b713ea81cbf
# The package of another architecture has another checksum: --build-arg FOUNDATIONDB_ARCHITECTURE=aarch64 --build-arg FOUNDATIONDB_SHA256=...
ARG FOUNDATIONDB_ARCHITECTURE=amd64
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/*
RUN curl -fsSLo /tmp/clients.deb \
        "https://github.com/apple/foundationdb/releases/download/${FOUNDATIONDB}/foundationdb-clients_${FOUNDATIONDB}-1_${FOUNDATIONDB_ARCHITECTURE}.deb" \
    && echo "${FOUNDATIONDB_SHA256}  /tmp/clients.deb" | sha256sum --check --strict \
    && dpkg-deb --extract /tmp/clients.deb /tmp/clients && cp /tmp/clients/usr/lib/libfdb_c.so /usr/lib/libfdb_c.so && rm -rf /tmp/clients*

FROM ${RUST} AS toolchain
# The bindings of FoundationDB are generated, which takes libclang; its client is linked.
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libclang-dev && rm -rf /var/lib/apt/lists/*
COPY --from=foundationdb /usr/lib/libfdb_c.so /usr/lib/libfdb_c.so
ENV CARGO_PROFILE_RELEASE_STRIP=symbols
WORKDIR /source

# The manifests, and sources without anything in them: the same as long as no dependency changes.
FROM toolchain AS skeleton
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name lib.rs ! -name main.rs -delete \
    && find . -name lib.rs -exec truncate -s 0 {} + \
    && find . -name main.rs -exec sh -c 'for file; do echo "fn main() { }" > "$file"; done' sh {} +

# All dependencies, in a layer that is kept until the skeleton changes.
FROM toolchain AS dependencies
COPY --from=skeleton /source .
RUN cargo build --release --locked --features foundationdb --bin ekitei \
    && cargo build --release --locked -p ekitei-operator --bin ekitei-operator

FROM dependencies AS build
COPY . .
# Cargo goes by times: what was just copied is newer than what was built from the skeleton.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + \
    && cargo build --release --locked --features foundationdb --bin ekitei \
    && cargo build --release --locked -p ekitei-operator --bin ekitei-operator \
    && mkdir /binaries && cp target/release/ekitei target/release/ekitei-operator /usr/lib/libfdb_c.so /binaries/

FROM scratch AS binaries
COPY --from=build /binaries/ /

# The root of the image, put together where there is a shell.
FROM ${BASE} AS root
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=binaries / /binaries/
COPY scripts/image-root Cargo.lock LICENSE /build/
RUN /build/image-root /binaries /image

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="Ekitei" \
      org.opencontainers.image.description="A mail service for Kubernetes, and its operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="debian:bookworm-slim"
COPY --from=root /image/ /
ENV PATH=/usr/local/bin
# Ports of the chart; none below 1024, so no capability is needed.
EXPOSE 2525 5870 4650 1430 9930 1100 9950 8443 8080
WORKDIR /var/lib/ekitei
USER 10001:10001
ENTRYPOINT ["ekitei"]
CMD ["serve", "--config", "/etc/ekitei/ekitei.yaml"]
